"""`aegis pipeline`: run, check, explain, test and watch pipelines that are described in YAML."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aegis_cli.context import Env
from aegis_cli.exits import ExitCode, Incomplete, UsageError
from aegis_cli.gaps import GapTeller
from aegis_cli.options import LockWaitOption, YesOption, env_of
from aegis_cli.output import confirm, note, write_json, write_line, write_table
from aegis_cli.pipeline_file import load_known_pipeline, load_pipeline, reader, understood
from aegis_cli.pipeline_progress import live_line, time_or_dash
from aegis_cli.pipeline_reload import ReloadSignal
from aegis_cli.store_access import open_store, open_store_for_reading

if TYPE_CHECKING:
    from aegis_cli.pipeline.admin import Status
    from aegis_cli.pipeline.definition import Definition
    from aegis_cli.pipeline.run import RunOptions
    from storage.store import Store

app = typer.Typer(
    help="""Run pipelines: YAML files that turn topics into topics, exactly once.

A pipeline filters, maps, groups, counts in windows of event time, joins and removes duplicates. What it read,
what it wrote and what it keeps open commit together: killed at any moment, it goes on without loss or
duplicates, and its results do not depend on when or how often it ran. The file is described in
docs/pipeline-files.md, its expressions in docs/pipeline-expressions.md.

Example:
  aegis pipeline init purchases.yaml
  aegis pipeline test purchases.yaml
  aegis pipeline run purchases.yaml --once
"""
)

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="The pipeline's YAML file.", show_default=False)
]
FilesArgument = Annotated[
    list[str], typer.Argument(metavar="FILE", help="YAML files of pipelines.", show_default=False)
]
NameArgument = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="Name of the pipeline.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="K=V",
        help="Give the variable ${K} of the file a value; repeatable.",
        show_default=False,
    ),
]


@app.command("run")
def run(
    context: typer.Context,
    file: FileArgument,
    once: Annotated[
        bool, typer.Option("--once", help="End at the end that is there now, as from cron.")
    ] = False,
    flush: Annotated[
        bool, typer.Option("--flush", help="With --once: give out all windows that are still open.")
    ] = False,
    chunk: Annotated[
        int | None,
        typer.Option(
            "--chunk",
            metavar="N",
            help="Process at most N messages at a time; results do not depend on it.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            max=16,
            help="Run the steps that keep nothing in N processes, 1 to 16; results do not depend on it.",
        ),
    ] = 1,
    variables: SetOption = None,
    lock_wait: LockWaitOption = None,
) -> int:
    """Run a pipeline in the foreground, until Ctrl-C or SIGTERM; it commits and ends within a second.

    It goes on where its last commit left off. Topics that it writes to are made if missing. Of two
    runs of one pipeline the second is refused. At the end it prints its account: what became of every record
    that came in, in all runs.

    On SIGHUP it reads its file again, unless it runs with --once: between two commits it goes on with the
    file as it is now, if what it holds stays valid under the change; else it says why not, and goes on as it
    was. With --workers the decoding and the steps before the first one that keeps something, which 'explain'
    names, run in processes of their own: worth it where they are most of the work, and cores are free.

    Example:
      aegis pipeline run purchases.yaml
      aegis pipeline run purchases.yaml --once --workers 3 --set day=2026-03-01
    """
    env = env_of(context)
    if flush and not once:
        raise UsageError("--flush needs --once; a pipeline that goes on closes its windows by itself")
    if chunk is not None and chunk < 1:
        raise UsageError(f"--chunk is {chunk}; use 1 or more")
    read = reader(file, variables)
    with nullcontext() if once else ReloadSignal(env, file, read) as reload:
        with understood():
            definition = read()
        if workers > 1 and definition.source.kind == "stdin":
            raise UsageError("--workers needs a topic or a file as source; stdin can be read only once")
        with open_store(env, lock_wait=lock_wait, create=definition.source.kind != "topic") as store:
            from aegis_cli.pipeline.run import RunOptions
            from storage.config import load

            options = RunOptions(
                once=once,
                flush=flush,
                chunk_records=chunk or 1 << 30,
                message_bytes_max=load(env.store_path, environ=env.environ).message_bytes_max,
                workers=workers,
            )
            return _run(env, store, definition, options, reload)


def _run(
    env: Env, store: Store, definition: Definition, options: RunOptions, reload: ReloadSignal | None
) -> int:
    from aegis_cli.delivery.stop_signals import StopSignals
    from aegis_cli.pipeline.errors import RecordRefusedError, TooManyRefusedError
    from aegis_cli.pipeline.run import run_pipeline

    teller = GapTeller(env)
    with understood(), StopSignals() as stop, live_line(env) as show:
        if reload is not None:
            reload.on_hang_up = stop.take
        try:
            account = run_pipeline(
                store, definition, options, stop=stop, reload=reload, on_gap=teller, on_progress=show
            )
        except (RecordRefusedError, TooManyRefusedError) as error:
            raise Incomplete(str(error)) from error
    if env.json:
        write_json(env, {"pipeline": definition.name, "account": account, "balances": account.balances})
    else:
        note(env, f"pipeline '{definition.name}': {account}")
    if stop.came is not None and not options.once:
        return ExitCode.OK
    stop.act()
    return ExitCode.DAMAGED if teller.damaged else ExitCode.OK


@app.command("validate")
def validate(context: typer.Context, files: FilesArgument, variables: SetOption = None) -> None:
    """Check pipeline files, their expressions too, without running anything.

    Example:
      aegis pipeline validate pipelines/*.yaml
    """
    from aegis_cli.pipeline.program import Program

    env = env_of(context)
    for file in files:
        definition = load_pipeline(file, variables)
        with understood():
            Program(definition)
        note(env, f"{file}: pipeline '{definition.name}' is valid")


@app.command("explain")
def explain(
    context: typer.Context,
    file: FileArgument,
    code: Annotated[
        bool, typer.Option("--code", help="Show the Python functions that are generated.")
    ] = False,
    variables: SetOption = None,
) -> None:
    """Show what a pipeline does: its steps in their order, the fields that it reads, what it keeps.

    Example:
      aegis pipeline explain purchases.yaml
      aegis pipeline explain purchases.yaml --code
    """
    from aegis_cli.pipeline.explain import explanation
    from aegis_cli.pipeline.program import Program

    env = env_of(context)
    definition = load_pipeline(file, variables)
    with understood():
        program = Program(definition)
    if code:
        for topic, source in program.sources.items():
            write_line(env, f"# {topic}\n{source}".rstrip("\n"))
        return
    plan = explanation(program)
    if env.json:
        write_json(env, plan)
        return
    write_table(env, ("step", "what"), plan.steps)
    write_line(env, "")
    for topic, fields in plan.fields.items():
        write_line(env, f"reads of {topic}: {', '.join(fields) or 'no field'}")
    write_line(env, f"with --workers, in processes of their own: {', '.join(plan.workers) or 'no step'}")


@app.command("test")
def test(context: typer.Context, files: FilesArgument, variables: SetOption = None) -> int:
    """Run the tests that pipeline files hold, each in a store of its own.

    A test says what is given to which topic and what is expected where. Exits with 1 if one fails.

    Example:
      aegis pipeline test examples/pipelines/*.yaml
    """
    from aegis_cli.pipeline.cases import run_case

    env = env_of(context)
    failed = count = 0
    for file in files:
        definition = load_pipeline(file, variables)
        for case in definition.cases:
            with understood():
                outcome = run_case(definition, case)
            count += 1
            failed += not outcome.passed
            if env.json:
                write_json(env, {"file": file, "test": outcome.name, "differences": outcome.differences})
                continue
            write_line(env, f"{'ok  ' if outcome.passed else 'FAIL'} {file}:{outcome.line}: {outcome.name}")
            for difference in outcome.differences:
                write_line(env, f"     {difference}")
    if not count:
        raise UsageError("there is no test in the given files; write some under 'tests'")
    note(env, f"{count - failed} of {count} tests passed")
    return ExitCode.FAILED if failed else ExitCode.OK


@app.command("list")
def list_all(context: typer.Context) -> None:
    """List the pipelines that have run in this store.

    Example:
      aegis pipeline list --json | jq -r 'select(.lag > 0) | .name'
    """
    from aegis_cli.pipeline.admin import pipeline_names, status_of

    env = env_of(context)
    with open_store_for_reading(env) as store:
        found = [status_of(store, name) for name in pipeline_names(store)]
    if env.json:
        for status in found:
            write_json(env, _as_json(status))
        return
    rows = [
        (
            each.name,
            "yes" if each.runs else "no",
            each.source,
            each.lag,
            time_or_dash(each.watermark_ms),
            str(each.account),
        )
        for each in found
    ]
    write_table(env, ("pipeline", "runs", "source", "lag", "watermark", "account"), rows)


@app.command("status")
def status(context: typer.Context, name: NameArgument) -> int:
    """Show a pipeline as its last commit left it: positions, lag, watermark, what is open, its account.

    Example:
      aegis pipeline status purchase-metrics
    """
    from aegis_cli.pipeline.admin import status_of

    env = env_of(context)
    with open_store_for_reading(env) as store:
        found = status_of(store, name)
    if env.json:
        write_json(env, _as_json(found))
    else:
        facts = {
            "pipeline": found.name,
            "file": found.file or "-",
            "runs": "yes" if found.runs else "no",
            "lag": found.lag,
            "watermark": time_or_dash(found.watermark_ms),
            "committed": time_or_dash(found.committed_ms),
            "open": ", ".join(f"{count} {kind}" for kind, count in found.open.items()) or "nothing",
            "account": str(found.account) + ("" if found.balances else " DOES NOT BALANCE"),
        }
        for label, value in facts.items():
            write_line(env, f"{label:<10} {value}")
        rows = [(each.topic, each.partition, each.offset, _number(each.lag)) for each in found.positions]
        write_table(env, ("topic", "partition", "position", "lag"), rows)
    return ExitCode.OK if found.balances else ExitCode.FAILED


@app.command("reset")
def reset(
    context: typer.Context, name: NameArgument, yes: YesOption = False, lock_wait: LockWaitOption = None
) -> int:
    """Forget all that a pipeline remembers, so that its next run begins at the beginning. Asks first.

    What it wrote stays: a sink that shall hold every result once must be emptied as well.

    Example:
      aegis pipeline reset purchase-metrics --yes
    """
    from aegis_cli.pipeline.admin import reset_pipeline, status_of

    env = env_of(context)
    with open_store(env, lock_wait=lock_wait) as store:
        status_of(store, name)
        if not confirm(env, f"forget positions and state of pipeline '{name}'?", yes=yes):
            note(env, "nothing was reset")
            return ExitCode.FAILED
        reset_pipeline(store, name)
    note(env, f"reset pipeline '{name}'")
    return ExitCode.OK


@app.command("verify")
def verify(context: typer.Context, file: FileArgument, variables: SetOption = None) -> int:
    """Run the history again, in memory, and compare with what the sinks hold. Writes nothing.

    FILE may also be the name of a pipeline, which means the file that it ran from last. Topics are compared
    message by message, files line by line, tables row by row.

    Exits with 1 where they differ, and where it cannot be told, with the reason: a sink is stdout, the clock
    decides what comes out (processing time, 'idle'), or a part of the history is gone.

    Example:
      aegis pipeline verify purchase-metrics
    """
    from aegis_cli.pipeline.verify import verify_pipeline
    from storage.config import load

    env = env_of(context)
    definition = load_known_pipeline(env, file, variables)
    config = load(env.store_path, environ=env.environ)
    with understood(), open_store_for_reading(env) as store:
        found = verify_pipeline(store, definition, message_bytes_max=config.message_bytes_max)
    if env.json:
        write_json(env, found)
    else:
        for difference in found.differences:
            write_line(env, difference)
        note(env, f"{found.compared} messages compared, {len(found.differences)} differ")
    return ExitCode.FAILED if found.differences else ExitCode.OK


@app.command("init")
def init(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The file to write.", show_default=False)
    ] = "pipeline.yaml",
) -> None:
    """Write a commented example, with a test.

    Example:
      aegis pipeline init purchases.yaml
    """
    from aegis_cli.pipeline.example import EXAMPLE

    env = env_of(context)
    try:
        with Path(file).open("x", encoding="utf-8") as target:
            target.write(EXAMPLE)
    except FileExistsError:
        raise UsageError(f"{file} exists; name another file") from None
    note(env, f"wrote {file}; try 'aegis pipeline test {file}'")


def _number(number: int | None) -> str:
    return "gone" if number is None else str(number)


def _as_json(status: Status) -> dict[str, object]:
    facts = ("name", "runs", "source", "lag", "watermark_ms", "committed_ms", "open", "account")
    return {name: getattr(status, name) for name in (*facts, "balances", "positions")}
