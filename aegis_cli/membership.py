"""Consuming as a member of a group: from the words of a command line to an engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from aegis_cli.context import Env
from aegis_cli.exits import ExitCode, UsageError
from aegis_cli.output import warn
from aegis_cli.store_access import open_store
from storage.config import Config, load

if TYPE_CHECKING:
    from aegis_cli.delivery.group_output import Delivered, GroupOptions
    from storage.batch import Batch
    from storage.group_reader import GroupReader
    from storage.member import Member, StartOf
    from storage.reader import Gap, LogReader
    from storage.store import Store

DELIVERIES = ("at-most-once", "at-least-once", "exactly-once")
_IN_FLIGHT_MAX = 1_000_000


class GroupWanted(NamedTuple):
    """What a command line says about a group, checked and resolved by `consume_in_group`."""

    group: str
    delivery: str | None
    max_in_flight: int | None
    output_file: str | None
    offsets: Sequence[str]
    follow: bool
    limit: int | None
    idle_seconds: float | None
    key: str | None
    grep: str | None


def consume_in_group(
    env: Env,
    topics: Sequence[str],
    wanted: GroupWanted,
    render: Callable[[Batch], bytes] | None,
    on_gap: Callable[[Gap], None],
) -> int:
    """Consume as a member until the end, or until it is stopped; returns the exit code."""
    check(wanted)
    damaged = False

    def tell(gap: Gap) -> None:
        nonlocal damaged
        damaged = damaged or gap.damage
        on_gap(gap)

    from storage.group_reader import GroupReader
    from storage.member import Member

    config = load(env.store_path, environ=env.environ)
    with open_store(env) as store:
        options = _options(env, config, store, wanted, render)
        timeout_seconds = config.session_timeout_ms / 1000
        start = start_of(store, wanted)
        with Member(
            store, wanted.group, topics, session_timeout_seconds=timeout_seconds, start=start
        ) as member:
            reader = GroupReader(member, follow=wanted.follow, pieces=options.pieces, on_gap=tell)
            done = _deliver(env, member, reader, wanted, options)
    if damaged:
        return ExitCode.DAMAGED
    return ExitCode.TIMED_OUT if done.idle and not done.records else ExitCode.OK


def check(wanted: GroupWanted) -> None:
    """Raise `UsageError` for what cannot be promised or makes no sense."""
    if wanted.delivery is not None and wanted.delivery not in DELIVERIES:
        raise UsageError(f"--delivery is '{wanted.delivery}'; use {', '.join(DELIVERIES)}")
    if wanted.delivery == "exactly-once" and wanted.output_file is None:
        raise UsageError(
            "nobody can write to a pipe exactly once; name an --output-file, or publish what comes of the "
            "messages with 'aegis pipe'"
        )
    if wanted.output_file is not None and wanted.delivery != "exactly-once":
        raise UsageError("--output-file is written exactly once; add --delivery exactly-once, or use '>'")
    if wanted.max_in_flight is not None and not 1 <= wanted.max_in_flight <= _IN_FLIGHT_MAX:
        raise UsageError(f"--max-in-flight is {wanted.max_in_flight}; use 1 to {_IN_FLIGHT_MAX}")


def start_of(store: Store, wanted: GroupWanted) -> StartOf:
    """Where a group begins that has no position yet."""
    from storage.member import earliest, latest

    if not wanted.offsets:
        return latest if wanted.follow else earliest
    from storage.offsets import parse_offset_specs, resolve

    try:
        spec = parse_offset_specs(wanted.offsets, now_ms=store.clock_ms())
    except ValueError as error:
        raise UsageError(str(error)) from error
    if spec.end is not None:
        raise UsageError("a group has no end; give --offset without a range")

    def start(reader: LogReader) -> int:
        return resolve(
            spec.start,
            start_offset=reader.start_offset,
            end_offset=reader.end_offset,
            offset_at_time=reader.offset_at_time,
        )

    return start


def _options(
    env: Env, config: Config, store: Store, wanted: GroupWanted, render: Callable[[Batch], bytes] | None
) -> GroupOptions:
    from aegis_cli.delivery.group_output import GroupOptions
    from storage.select import selection

    select, _ = selection(
        offsets=[], key=wanted.key, grep=wanted.grep, since=None, until=None, now_ms=store.clock_ms()
    )
    in_flight = wanted.max_in_flight or GroupOptions().max_in_flight
    return GroupOptions(
        follow=wanted.follow,
        at_most_once=wanted.delivery == "at-most-once",
        commit=config.auto_commit,
        max_in_flight=in_flight,
        pieces=min(config.max_poll_records, in_flight),
        limit=wanted.limit,
        idle_seconds=wanted.idle_seconds,
        render=render,
        select=select,
        on_notice=lambda text: warn(env, text),
    )


def _deliver(
    env: Env, member: Member, reader: GroupReader, wanted: GroupWanted, options: GroupOptions
) -> Delivered:
    if wanted.output_file is not None:
        from aegis_cli.delivery.output_file import deliver_to_file

        return deliver_to_file(member, reader, wanted.output_file, options)
    from aegis_cli.delivery.group_output import deliver
    from storage.output import Output

    env.stdout.flush()
    return deliver(member, reader, Output(sys.stdout.fileno()), options)
