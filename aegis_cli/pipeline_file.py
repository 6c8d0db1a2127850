"""A pipeline's file, from the words of a command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aegis_cli.exits import Unreachable, UsageError

if TYPE_CHECKING:
    from aegis_cli.context import Env
    from aegis_cli.pipeline.definition import Definition


def load_pipeline(file: str, variables: list[str] | None) -> Definition:
    """The pipeline of a file, with the values of `--set`. Raises `UsageError`, `NotFoundError`."""
    read = reader(file, variables)
    with understood():
        return read()


def load_known_pipeline(env: Env, word: str, variables: list[str] | None) -> Definition:
    """The pipeline of a file, or of the one that the pipeline of this name ran from last.

    Raises `UsageError`, `NotFoundError`.
    """
    from aegis_cli.pipeline.errors import PipelineFileNotFoundError

    try:
        return load_pipeline(word, variables)
    except PipelineFileNotFoundError:
        file = _last_file(env, word)
        if file is None:
            raise
    try:
        return load_pipeline(file, variables)
    except PipelineFileNotFoundError as error:
        raise UsageError(
            f"pipeline '{word}' ran from {file}, which is not there any more; name its file"
        ) from error


def _last_file(env: Env, name: str) -> str | None:
    """Where the definition stood by which the pipeline of this name ran last."""
    from aegis_cli.pipeline.state import look
    from aegis_cli.store_access import open_store_for_reading
    from storage.errors import InvalidNameError, NotFoundError

    try:
        with open_store_for_reading(env) as store:
            return look(store, name)[1].facts.file or None
    except (NotFoundError, InvalidNameError):
        return None


def reader(file: str, variables: list[str] | None) -> Callable[[], Definition]:
    """What reads a file, with the values of `--set`, and raises `PipelineFileError`. Raises `UsageError`."""
    from aegis_cli.pipeline.reading import load

    settings = {}
    for variable in variables or ():
        key, equals, value = variable.partition("=")
        if not equals or not key:
            raise UsageError(f"--set is {variable!r}; write it as NAME=VALUE")
        settings[key] = value
    return lambda: load(file, settings=settings)


@contextmanager
def understood() -> Iterator[None]:
    """A file that is not understood is a use that cannot be carried out; one that is missing is not found.

    A server that does not answer may be back later.
    """
    from aegis_cli.pipeline.errors import (
        PipelineFileError,
        PipelineFileNotFoundError,
        SinkUnreachableError,
    )

    try:
        yield
    except PipelineFileNotFoundError:
        raise
    except PipelineFileError as error:
        raise UsageError(str(error)) from error
    except SinkUnreachableError as error:
        raise Unreachable(str(error)) from error
