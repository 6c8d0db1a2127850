"""`aegis consume`: read messages from topics, once or for as long as they grow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from aegis_cli import handing_options as o
from aegis_cli.context import Env
from aegis_cli.exits import ExitCode, UsageError
from aegis_cli.gaps import GapTeller
from aegis_cli.options import env_of, parsed
from aegis_cli.output import warn
from aegis_cli.store_access import open_store_for_reading
from storage.assign import assign
from storage.batch import Batch
from storage.consume import ConsumeOptions, consume_assigned
from storage.output import Output
from storage.select import selection

TopicsArgument = Annotated[list[str], typer.Argument(metavar="TOPIC...", help="Names of the topics.")]
FollowOption = Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")]
OffsetOption = Annotated[
    list[str] | None,
    typer.Option("-o", "--offset", metavar="SPEC", help="Where to start, or a range; see aegis-consume(1)."),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only records of this time or later.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only records before this time.")
]
NumberOption = Annotated[
    int | None, typer.Option("-n", "--num", "--max-messages", metavar="N", help="End after N records.")
]
PartitionsOption = Annotated[
    list[int] | None, typer.Option("-p", "--partition", metavar="N", help="Only this partition; repeatable.")
]
LastOption = Annotated[int | None, typer.Option("--last", metavar="N", help="Only the newest N records.")]
FormatOption = Annotated[
    str | None, typer.Option("-F", "--format", metavar="FORMAT", help="Such as '%k %o %v\\n'.")
]
KeyOption = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Only records with this key.")]
GrepOption = Annotated[
    str | None, typer.Option("--grep", metavar="RE", help="Only records whose JSON text matches.")
]
IdleOption = Annotated[
    str | None, typer.Option("--idle-timeout", metavar="TIME", help="End when nothing came for so long.")
]
ExitOption = Annotated[
    bool, typer.Option("-e", "--exit", help="End at the end as it is now; that is the default.")
]


def consume(
    context: typer.Context,
    topics: TopicsArgument,
    follow: FollowOption = False,
    offset: OffsetOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    num: NumberOption = None,
    partition: PartitionsOption = None,
    last: LastOption = None,
    format: FormatOption = None,
    key: KeyOption = None,
    grep: GrepOption = None,
    idle_timeout: IdleOption = None,
    exit: ExitOption = False,
    group: o.GroupOption = None,
    subscription: o.SubscriptionOption = None,
    delivery: o.DeliveryOption = None,
    max_in_flight: o.MaxInFlightOption = None,
    output_file: o.OutputFileOption = None,
    exec: o.ExecOption = None,
    shell: o.ShellOption = False,
    parallel: o.ParallelOption = None,
    batch: o.BatchOption = None,
    retries: o.RetriesOption = None,
    backoff: o.BackoffOption = None,
    dead_letter: o.DeadLetterOption = None,
    timeout: o.RunTimeoutOption = None,
    ack_timeout: o.AckTimeoutOption = None,
    max_deliveries: o.MaxDeliveriesOption = None,
) -> int:
    """Print the messages of topics: each as it was published, one a line.

    Without --follow it ends at the end that it saw when it began. SPEC is start, end, N, -N (before the
    end), +N, @TIME, or a range A:B of these.

    Example:
      aegis consume orders -o -10
      aegis consume orders --since 1h --json | jq .value
      aegis consume orders -f -F '%p %o %k %v\\n'
      aegis consume orders --group billing -f | bill
      aegis consume orders --group mail -f --exec 'send-mail' --dead-letter unsent
    """
    env = env_of(context)
    if exit and follow:
        raise UsageError("--exit and --follow exclude each other; give one of them")
    if format is not None and env.json:
        raise UsageError("--format and --json exclude each other; give one of them")
    if last is not None and (offset or since):
        raise UsageError("--last chooses its own start; leave out --offset and --since")
    for name, value in (("-n", num), ("--last", last)):
        if value is not None and value < 0:
            raise UsageError(f"{name} is {value}; use 0 or more")
    if idle_timeout is not None and not follow:
        raise UsageError("--idle-timeout is for --follow; without it consume ends at the end; add -f")
    idle_seconds = None if idle_timeout is None else _idle_seconds(idle_timeout)
    handing = o.Handing(
        group=group,
        subscription=subscription,
        delivery=delivery,
        max_in_flight=max_in_flight,
        output_file=output_file,
        exec=exec,
        shell=shell,
        parallel=parallel,
        batch=batch,
        retries=retries,
        backoff=backoff,
        dead_letter=dead_letter,
        timeout=timeout,
        ack_timeout=ack_timeout,
        max_deliveries=max_deliveries,
    )
    handing.check()
    if handing.is_shared:
        if partition or last is not None or since or until:
            raise UsageError(
                "who shares messages goes on where they stopped; leave out -p, --last, --since and --until"
            )
        from aegis_cli.membership import Reading, consume_shared

        reading = Reading(topics, offset or [], follow, num, idle_seconds, key, grep, _render(env, format))
        return consume_shared(env, reading, handing)
    with open_store_for_reading(env) as store:
        try:
            chosen = assign(
                store,
                topics,
                partitions=partition,
                offsets=offset or [],
                since=since,
                last=last,
                follow=follow,
            )
            select, until_ms = selection(
                offsets=offset or [],
                key=key,
                grep=grep,
                since=since,
                until=until,
                now_ms=store.clock_ms(),
            )
            render = _render(env, format)
        except ValueError as error:
            raise UsageError(str(error)) from error
        options = ConsumeOptions(
            follow=follow,
            limit=num,
            idle_seconds=idle_seconds,
            until_ms=until_ms,
            render=render,
            select=select,
            on_gap=GapTeller(env),
            on_notice=lambda text: warn(env, text),
            all_partitions=not partition,
        )
        env.stdout.flush()
        done = consume_assigned(store, chosen, Output(sys.stdout.fileno()), options)
    if done.gaps:
        return ExitCode.DAMAGED
    return ExitCode.TIMED_OUT if done.idle and not done.records else ExitCode.OK


def _render(env: Env, text: str | None) -> Callable[[Batch], bytes] | None:
    if env.json:
        from storage.envelope import encode_batch

        return encode_batch
    if text is None:
        return None
    from aegis_cli.formats import compile_format

    return compile_format(text)


def _idle_seconds(text: str) -> float | None:
    from storage.quantities import UNLIMITED, parse_duration_ms

    idle_ms = parsed(parse_duration_ms, text, option="--idle-timeout")
    return None if idle_ms == UNLIMITED else idle_ms / 1000
