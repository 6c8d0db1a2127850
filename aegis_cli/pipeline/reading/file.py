"""A pipeline file as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aegis_cli.pipeline.definition import GROUPS_MAX, Branch, Definition, OnError, Step, Table
from aegis_cli.pipeline.document import Document, ListNode, Node
from aegis_cli.pipeline.errors import PipelineFileError, PipelineFileNotFoundError
from aegis_cli.pipeline.place import shown
from aegis_cli.pipeline.reading import scalars
from aegis_cli.pipeline.reading.cases import cases
from aegis_cli.pipeline.reading.chain import STEP_KEYS, Chain, written
from aegis_cli.pipeline.reading.keys import Keys, entries
from aegis_cli.pipeline.reading.on_error import groups_max, on_error
from aegis_cli.pipeline.reading.routes import Routes, result_fields
from aegis_cli.pipeline.reading.sinks import EXAMPLE as SINK_EXAMPLE
from aegis_cli.pipeline.reading.sinks import SINKS_MAX, branches, sinks
from aegis_cli.pipeline.reading.source import EXAMPLE as SOURCE_EXAMPLE
from aegis_cli.pipeline.reading.source import source, tables
from aegis_cli.pipeline.syntax import SIZE_BYTES_MAX, check_text
from aegis_cli.pipeline.variables import Variables
from storage.errors import InvalidNameError
from storage.names import check_name

COMMIT_INTERVAL_MAX_MS = 3_600_000
KEYS = (
    "name",
    "description",
    "source",
    "tables",
    "steps",
    *STEP_KEYS,
    "sink",
    "branches",
    "on_error",
    "limits",
    "commit_interval",
    "tests",
)


def load(path: str, *, settings: Mapping[str, str] | None = None) -> Definition:
    """The pipeline of the file `path`; `settings` are the values of its variables.

    Raises PipelineFileError for a file that cannot be read or does not say what a pipeline must,
    PipelineFileNotFoundError where there is none.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(SIZE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise PipelineFileNotFoundError(path) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PipelineFileError(path, f"cannot be read: {reason.lower()}") from None
    if len(content) > SIZE_BYTES_MAX:
        raise PipelineFileError(path, f"the file has more than {SIZE_BYTES_MAX} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise PipelineFileError(
            path, "the file is no UTF-8", line=line, column=column, hint="save it as UTF-8"
        ) from None
    return loads(text, path=path, settings=settings)


def loads(text: str, *, path: str, settings: Mapping[str, str] | None = None) -> Definition:
    """The pipeline that `text` describes; `path` is for messages and for a name that is not given.

    Raises PipelineFileError.
    """
    variables = Variables(settings or {}, path=path)
    root = Document(check_text(text, path=path), variables, path=path).read()
    if root is None:
        raise PipelineFileError(path, "the file is empty", hint="'aegis pipeline init' writes an example")
    example = f"{SOURCE_EXAMPLE}, a step and {SINK_EXAMPLE}, each on a line of its own"
    keys = Keys(root, what="the pipeline", known=KEYS, example=example)
    found = _definition(keys, root, path, check_tests=not settings)
    variables.check_all_used()
    return found


def _definition(keys: Keys, root: Node, path: str, *, check_tests: bool) -> Definition:
    keys.example = SOURCE_EXAMPLE
    source_ = source(keys.need("source"))
    tables_ = tables(keys.need("tables")) if "tables" in keys else {}
    steps = _steps(root, tables_)
    branches_ = _branches(keys, steps)
    on_error_ = on_error(keys.need("on_error")) if "on_error" in keys else OnError()
    routes = Routes(source_, tables_, steps, branches_, on_error_)
    routes.check(keys)
    tests = keys.get("tests")
    cases_ = cases(tests) if tests else ()
    if check_tests and isinstance(tests, ListNode):
        # Settings may change the names of topics, and tests are written for the names without them.
        for case, node in zip(cases_, tests.items, strict=True):
            routes.check_case(case, node.place)
    return Definition(
        path=path,
        name=_name(keys, path),
        source=source_,
        steps=steps,
        branches=branches_,
        tables=tables_,
        on_error=on_error_,
        cases=cases_,
        groups_max=groups_max(keys.need("limits")) if "limits" in keys else GROUPS_MAX,
        commit_interval_ms=_commit_interval_ms(keys),
        description=_description(keys),
    )


def _name(keys: Keys, path: str) -> str:
    node = keys.get("name")
    if node is not None:
        name, place = scalars.text(node, what="'name'", example="name: purchase-metrics"), node.place
        hint = "use letters, digits, '.', '_' and '-'"
    else:
        name, place = Path(path).stem, keys.place
        hint = "write name: NAME, since the file's own name is none"
    try:
        check_name(name)
    except InvalidNameError as error:
        raise place.error(f"{shown(name)} cannot be a pipeline's name: {error.reason}", hint) from None
    return name


def _description(keys: Keys) -> str:
    node = keys.get("description")
    return scalars.text(node, what="'description'", example="description: what it is for") if node else ""


def _steps(root: Node, tables_: dict[str, Table]) -> tuple[Step, ...]:
    chain = Chain(tables_)
    for key, node in written(entries(root, what="the pipeline", example=SOURCE_EXAMPLE)):
        chain.add(key, node)
    chain.end()
    return tuple(chain.steps)


def _branches(keys: Keys, steps: tuple[Step, ...]) -> tuple[Branch, ...]:
    """All ways out: the sinks of `sink`, then those of `branches`."""
    if "branches" not in keys:
        keys.example = SINK_EXAMPLE
        keys.need("sink")
    found: list[Branch] = []
    fields = result_fields(steps)
    for name, read in (("sink", sinks), ("branches", branches)):
        node = keys.get(name)
        if node is not None:
            found += read(node, fields)
    if len(found) > SINKS_MAX:
        raise keys.place.error(f"the pipeline has more than {SINKS_MAX} sinks")
    return tuple(found)


def _commit_interval_ms(keys: Keys) -> int | None:
    node = keys.get("commit_interval")
    if node is None:
        return None
    found = scalars.limited_ms(node, what="'commit_interval'", example="100ms")
    if found > COMMIT_INTERVAL_MAX_MS:
        raise node.place.error("'commit_interval' must be at most 1h", "commit_interval: 100ms")
    return found
