"""`aegis pipe`: messages of one topic through a command into another, exactly once."""

from __future__ import annotations

from typing import Annotated

import typer

from aegis_cli.context import Env
from aegis_cli.exits import CommandFailed, ExitCode, UsageError
from aegis_cli.gaps import GapTeller
from aegis_cli.options import LockWaitOption, env_of, parsed
from aegis_cli.output import note, warn, write_json
from aegis_cli.store_access import open_store
from storage.config import load
from storage.store import Store

_BATCH_MAX = 1_000_000

CommandArgument = Annotated[
    list[str],
    typer.Argument(metavar="COMMAND...", help="The command and its arguments, after --.", show_default=False),
]
FromOption = Annotated[
    list[str],
    typer.Option("--from", metavar="TOPIC", help="Read this topic; repeatable.", show_default=False),
]
ToOption = Annotated[
    str, typer.Option("--to", metavar="TOPIC", help="Publish to this topic.", show_default=False)
]
GroupOption = Annotated[
    str,
    typer.Option(
        "-g", "--group", metavar="NAME", help="The group that keeps the position.", show_default=False
    ),
]
BatchOption = Annotated[
    int | None,
    typer.Option(
        "--batch", metavar="N", help="Give a run at most N messages; default 10000.", show_default=False
    ),
]
FollowOption = Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", metavar="TIME", help="Kill a run that takes longer.")
]


def pipe(
    context: typer.Context,
    command: CommandArgument,
    source: FromOption,
    to: ToOption,
    group: GroupOption,
    batch: BatchOption = None,
    follow: FollowOption = False,
    timeout: TimeoutOption = None,
    lock_wait: LockWaitOption = None,
) -> int:
    """Run messages through a command and publish what it prints, exactly once.

    COMMAND is run once a batch: it gets messages of one partition, one a line, and what it prints must be
    JSON Lines again. They and the position of the group are committed in one transaction, so a pipe that was
    killed goes on without loss or duplicates. Where COMMAND fails nothing of its batch is published and the
    pipe ends; a filter that fails where it finds nothing needs a shell, as in sh -c 'grep x || true'.

    Without --follow it ends at the end that it saw when it began. A new group begins at the oldest message.
    COMMAND finds out where its messages are from as with 'aegis consume --exec'.

    Example:
      aegis pipe --from orders --to totals --group totals -- jq -c '{id, total}'
      aegis pipe --from orders --to large -g large -f -- jq -c 'select(.total > 100)'
    """
    env = env_of(context)
    seconds = None if timeout is None else _seconds(timeout)
    if batch is not None and not 1 <= batch <= _BATCH_MAX:
        raise UsageError(f"--batch is {batch}; use 1 to {_BATCH_MAX}")
    if to in source:
        raise UsageError(f"--from and --to are both '{to}'; name another topic to publish to")
    with open_store(env, lock_wait=lock_wait) as store:
        return _pipe(
            env, store, command, source, to, group=group, batch=batch, follow=follow, timeout_seconds=seconds
        )


def _pipe(
    env: Env,
    store: Store,
    command: list[str],
    source: list[str],
    target: str,
    *,
    group: str,
    batch: int | None,
    follow: bool,
    timeout_seconds: float | None,
) -> int:
    from aegis_cli.delivery.errors import CommandFailedError, OutputTooLargeError
    from aegis_cli.delivery.pipe import BATCH_DEFAULT, PipeOptions, pipe
    from storage.member import Member

    config = load(env.store_path, environ=env.environ)
    options = PipeOptions(
        command=command,
        target=target,
        max_record_bytes=store.topic(target).settings.max_message_bytes or config.message_bytes_max,
        batch=batch or BATCH_DEFAULT,
        timeout_seconds=timeout_seconds,
        environ=env.environ,
    )
    teller = GapTeller(env)
    session_seconds = config.session_timeout_ms / 1000
    try:
        with Member(store, group, source, session_timeout_seconds=session_seconds) as member:
            done = pipe(
                member,
                options,
                follow=follow,
                on_notice=lambda text: warn(env, text),
                on_gap=teller,
            )
    except (CommandFailedError, OutputTooLargeError) as error:
        raise CommandFailed(str(error)) from error
    if env.json:
        write_json(env, {"records": done.records, "published": done.published, "runs": done.runs})
    elif env.stderr_is_terminal:
        note(env, f"published {done.published} messages made of {done.records}")
    return ExitCode.DAMAGED if teller.damaged else ExitCode.OK


def _seconds(text: str) -> float:
    from storage.quantities import UNLIMITED, parse_duration_ms

    timeout_ms = parsed(parse_duration_ms, text, option="--timeout")
    if timeout_ms in (0, UNLIMITED):
        raise UsageError(f"--timeout is {text}; give a time such as 30s, or leave it out")
    return timeout_ms / 1000
