"""Consuming as one of several, from the words of a command line to an engine: groups and subscriptions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from aegis_cli.context import Env
from aegis_cli.exits import CommandFailed, ExitCode, UsageError
from aegis_cli.gaps import GapTeller
from aegis_cli.handing_options import Handing
from aegis_cli.options import parsed
from aegis_cli.output import warn
from aegis_cli.store_access import open_store
from storage.config import Config, load

if TYPE_CHECKING:
    from aegis_cli.delivery.exec import ExecOptions
    from aegis_cli.delivery.group_output import GroupOptions
    from storage.batch import Batch
    from storage.group_reader import GroupReader
    from storage.member import Member, StartOf
    from storage.reader import LogReader
    from storage.store import Store


class Reading(NamedTuple):
    """What is read, and how it is shown, whoever shares it."""

    topics: Sequence[str]
    offsets: Sequence[str]
    follow: bool
    limit: int | None
    idle_seconds: float | None
    key: str | None
    grep: str | None
    render: Callable[[Batch], bytes] | None


class Outcome(NamedTuple):
    """What an engine reports."""

    records: int
    idle: bool


def consume_shared(env: Env, reading: Reading, handing: Handing) -> int:
    """Consume as a member of a group or of a subscription; returns the exit code."""
    from aegis_cli.delivery.errors import CommandFailedError

    config = load(env.store_path, environ=env.environ)
    teller = GapTeller(env)
    with open_store(env) as store:
        try:
            if handing.group is not None:
                done = _in_group(env, config, store, reading, handing, teller)
            else:
                done = _in_subscription(env, store, reading, handing, teller)
        except CommandFailedError as error:
            raise CommandFailed(str(error)) from error
    if teller.damaged:
        return ExitCode.DAMAGED
    return ExitCode.TIMED_OUT if done.idle and not done.records else ExitCode.OK


def _in_group(
    env: Env, config: Config, store: Store, reading: Reading, handing: Handing, teller: GapTeller
) -> Outcome:
    from storage.group_reader import GroupReader
    from storage.member import Member

    assert handing.group is not None
    command = _exec_options(env, reading, handing)
    options = _group_options(env, config, store, reading, handing)
    with Member(
        store,
        handing.group,
        reading.topics,
        session_timeout_seconds=config.session_timeout_ms / 1000,
        start=start_of(store, reading),
    ) as member:
        if command is not None:
            from aegis_cli.delivery.exec import consume_exec

            executed = consume_exec(
                member, command, follow=reading.follow, on_notice=_notices(env), on_gap=teller
            )
            return Outcome(executed.records, executed.idle)
        reader = GroupReader(member, follow=reading.follow, pieces=options.pieces, on_gap=teller)
        return _to_output(env, member, reader, handing, options)


def _to_output(
    env: Env, member: Member, reader: GroupReader, handing: Handing, options: GroupOptions
) -> Outcome:
    if handing.output_file is not None:
        from aegis_cli.delivery.output_file import deliver_to_file

        done = deliver_to_file(member, reader, handing.output_file, options)
    else:
        from aegis_cli.delivery.group_output import deliver
        from storage.output import Output

        env.stdout.flush()
        done = deliver(member, reader, Output(sys.stdout.fileno()), options)
    return Outcome(done.records, done.idle)


def _group_options(
    env: Env, config: Config, store: Store, reading: Reading, handing: Handing
) -> GroupOptions:
    from aegis_cli.delivery.group_output import GroupOptions
    from storage.select import selection

    select, _ = selection(
        offsets=[], key=reading.key, grep=reading.grep, since=None, until=None, now_ms=store.clock_ms()
    )
    in_flight = handing.max_in_flight or GroupOptions().max_in_flight
    return GroupOptions(
        follow=reading.follow,
        at_most_once=handing.delivery == "at-most-once",
        commit=config.auto_commit,
        max_in_flight=in_flight,
        pieces=min(config.max_poll_records, in_flight),
        limit=reading.limit,
        idle_seconds=reading.idle_seconds,
        render=reading.render,
        select=select,
        on_notice=_notices(env),
    )


def start_of(store: Store, reading: Reading) -> StartOf:
    """Where a group begins that has no position yet."""
    from storage.member import earliest, latest

    if not reading.offsets:
        return latest if reading.follow else earliest
    from storage.offsets import parse_offset_specs, resolve

    try:
        spec = parse_offset_specs(reading.offsets, now_ms=store.clock_ms())
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


def _exec_options(env: Env, reading: Reading, handing: Handing) -> ExecOptions | None:
    if handing.exec is None:
        return None
    if reading.key is not None or reading.grep is not None or reading.render is not None:
        raise UsageError("a command gets every record as it is; leave out --key, --grep, --format and --json")
    from aegis_cli.delivery.child import command_of
    from aegis_cli.delivery.exec import ExecOptions

    def command(text: str) -> list[str]:
        return command_of(text, shell=handing.shell)

    default = ExecOptions(command=())
    return ExecOptions(
        command=parsed(command, handing.exec, option="--exec"),
        batch=handing.batch or default.batch,
        parallel=handing.parallel or default.parallel,
        retries=default.retries if handing.retries is None else handing.retries,
        backoff_seconds=_seconds(handing.backoff, "--backoff") or default.backoff_seconds,
        timeout_seconds=_seconds(handing.timeout, "--timeout"),
        dead_letter=handing.dead_letter if handing.group is not None else None,
        limit=reading.limit,
        idle_seconds=reading.idle_seconds,
        environ=env.environ,
    )


def _in_subscription(
    env: Env, store: Store, reading: Reading, handing: Handing, teller: GapTeller
) -> Outcome:
    from storage.subscription import open_subscription

    assert handing.subscription is not None
    if reading.key is not None or reading.grep is not None:
        raise UsageError("a subscription delivers every record; leave out --key and --grep")
    if len(reading.offsets) > 1:
        raise UsageError("a subscription begins at one place; give --offset once")
    command = _exec_options(env, reading, handing)
    start = reading.offsets[0] if reading.offsets else ("end" if reading.follow else "start")
    with open_subscription(
        store,
        handing.subscription,
        topics=reading.topics,
        start=start,
        ack_timeout_seconds=_seconds(handing.ack_timeout, "--ack-timeout"),
        max_deliveries=handing.max_deliveries,
        dead_letter=handing.dead_letter,
        max_in_flight=handing.max_in_flight,
        on_gap=teller,
        on_notice=_notices(env),
    ) as subscription:
        if command is not None:
            from aegis_cli.delivery.exec import consume_exec
            from aegis_cli.delivery.subscription_source import SubscriptionSource

            source = SubscriptionSource(
                subscription, follow=reading.follow, batch=command.batch, on_notice=_notices(env)
            )
            executed = consume_exec(source, command, follow=reading.follow, on_notice=_notices(env))
            return Outcome(executed.records, executed.idle)
        from aegis_cli.delivery.subscription import SubscriptionOptions, consume_subscription
        from storage.output import Output

        env.stdout.flush()
        options = SubscriptionOptions(
            follow=reading.follow,
            limit=reading.limit,
            idle_seconds=reading.idle_seconds,
            render=reading.render,
            on_notice=_notices(env),
        )
        done = consume_subscription(subscription, Output(sys.stdout.fileno()), options)
        return Outcome(done.records, done.idle)


def _notices(env: Env) -> Callable[[str], None]:
    return lambda text: warn(env, text)


def _seconds(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    from storage.quantities import UNLIMITED, parse_duration_ms

    time_ms = parsed(parse_duration_ms, text, option=option)
    if time_ms in (0, UNLIMITED):
        raise UsageError(f"{option} is {text}; give a time such as 30s, or leave it out")
    return time_ms / 1000
