"""`aegis subscription`: list, describe and delete subscriptions, and look after what they put aside."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from aegis_cli.exits import ExitCode, UsageError, describe
from aegis_cli.options import LockWaitOption, YesOption, env_of
from aegis_cli.output import confirm, note, warn, write_json, write_line, write_table
from aegis_cli.store_access import open_store, open_store_for_reading
from storage.errors import DamageError
from storage.subscription import open_subscription
from storage.subscription_admin import (
    SubscriptionDescription,
    delete_subscription,
    describe_subscription,
    subscription_names,
)
from storage.subscription_errors import SubscriptionNotFoundError
from storage.subscription_parking import ParkedMessage

app = typer.Typer(
    help="""Show and delete subscriptions, and look after the messages that they put aside.

The consumers of a subscription share its messages one by one: each message is acknowledged, or delivered
again, and after too many deliveries in vain parked. 'aegis consume TOPIC --subscription NAME' makes one.

Example:
  aegis subscription list
  aegis subscription parked mailer
  aegis subscription replay mailer --all
"""
)

SubscriptionArgument = Annotated[
    str, typer.Argument(metavar="SUBSCRIPTION", help="Name of the subscription.", show_default=False)
]
SomeSubscriptionsArgument = Annotated[
    list[str], typer.Argument(metavar="SUBSCRIPTION", help="Names of the subscriptions.", show_default=False)
]
# How much of a message is shown in a table.
_VALUE_CHARACTERS = 60


@app.command("list")
def list_all(context: typer.Context) -> int:
    """List all subscriptions. The lag counts what was never delivered, waiting what is delivered again.

    Example:
      aegis subscription list
      aegis subscription list --json | jq -r 'select(.parked > 0) | .name'
    """
    env = env_of(context)
    found, damaged = [], []
    with open_store_for_reading(env) as store:
        for name in subscription_names(store):
            try:
                found.append(describe_subscription(store, name))
            except SubscriptionNotFoundError:
                continue  # just being made, or just deleted
            except DamageError as error:
                damaged.append(error)
    if env.json:
        for subscription in found:
            write_json(env, subscription)
    else:
        columns = ("subscription", "topics", "lag", "in flight", "waiting", "parked", "consumers")
        write_table(env, columns, [_list_row(subscription) for subscription in found])
    for damage in damaged:
        warn(env, describe(damage))
    return ExitCode.DAMAGED if damaged else ExitCode.OK


@app.command("describe")
def describe_one(context: typer.Context, name: SubscriptionArgument) -> None:
    """Show a subscription: its settings, how far each partition is, and who consumes.

    Below FLOOR every message is settled or parked; from NEXT on none was delivered yet.

    Example:
      aegis subscription describe mailer
      aegis subscription describe mailer --json | jq '.partitions[].lag'
    """
    env = env_of(context)
    with open_store_for_reading(env) as store:
        found = describe_subscription(store, name)
    if env.json:
        write_json(env, found)
        return
    settings, counts = found.settings, found.counts
    facts = {
        "subscription": found.name,
        "topics": ", ".join(settings.topics),
        "ack-timeout": f"{settings.ack_timeout_ms / 1000:g} s",
        "max-deliveries": str(settings.max_deliveries),
        "dead-letter": settings.dead_letter or "-",
        "max-in-flight": str(settings.max_in_flight),
        "acknowledged": str(counts.acknowledged),
        "dead-lettered": str(counts.dead_lettered),
        "gone": str(counts.gone),
    }
    width = max(map(len, facts))
    for fact, text in facts.items():
        write_line(env, f"{fact.ljust(width)}  {text}")
    write_line(env, "")
    columns = ("topic", "partition", "floor", "next", "end", "lag", "in flight", "waiting", "parked")
    rows = [
        (
            place.topic,
            place.partition,
            place.floor,
            place.next_offset,
            place.end_offset,
            place.lag,
            place.in_flight,
            place.waiting,
            place.parked,
        )
        for place in found.partitions
    ]
    write_table(env, columns, rows)
    if found.consumers:
        write_line(env, "")
        consumers = [(one.name, one.process, one.in_flight) for one in found.consumers]
        write_table(env, ("consumer", "process", "in flight"), consumers)


@app.command("parked")
def parked(
    context: typer.Context,
    name: SubscriptionArgument,
    count: Annotated[
        int | None,
        typer.Option("-n", "--num", metavar="N", min=1, help="Only the first N.", show_default=False),
    ] = None,
) -> None:
    """List the messages that were delivered too often in vain, and when each was put aside.

    The value is missing where the topic does not hold the message any more.

    Example:
      aegis subscription parked mailer
      aegis subscription parked mailer --json | jq .value
    """
    env = env_of(context)
    shown = []
    with open_store_for_reading(env) as store, open_subscription(store, name, create=False) as subscription:
        for at, message in enumerate(subscription.parked()):
            if at == count:
                break
            if env.json:
                write_json(env, _parked_json(message))
            else:
                shown.append(_parked_row(message))
    if not env.json:
        columns = ("topic", "partition", "offset", "deliveries", "parked", "value")
        write_table(env, columns, shown)


@app.command("replay")
def replay(
    context: typer.Context,
    name: SubscriptionArgument,
    offsets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OFFSET...",
            help="Offsets; of several partitions PARTITION:OFFSET or TOPIC:PARTITION:OFFSET.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that is parked.", show_default=False)
    ] = False,
    lock_wait: LockWaitOption = None,
) -> None:
    """Deliver parked messages again, as if for the first time. Works while consumers run.

    Example:
      aegis subscription replay mailer 17 18
      aegis subscription replay mailer --all
    """
    env = env_of(context)
    if everything == bool(offsets):
        raise UsageError("what to replay is not clear; name offsets, or pass --all")
    with (
        open_store(env, lock_wait=lock_wait) as store,
        open_subscription(store, name, create=False) as subscription,
    ):
        if everything:
            done = subscription.replay()
        else:
            known = sorted(
                {(place.topic, place.partition) for place in describe_subscription(store, name).partitions}
            )
            done = subscription.replay([_place_of(text, known) for text in offsets or []])
    if env.json:
        write_json(env, {"subscription": name, "replayed": done})
    note(env, f"{_count(done, 'message')} of subscription '{name}' will be delivered again")


@app.command("delete")
def delete(
    context: typer.Context,
    names: SomeSubscriptionsArgument,
    yes: YesOption = False,
    lock_wait: LockWaitOption = None,
) -> int:
    """Delete subscriptions, with what they know of their messages; the messages stay. Asks first.

    One that somebody consumes is not deleted.

    Example:
      aegis subscription delete mailer
    """
    env = env_of(context)
    with open_store(env, lock_wait=lock_wait) as store:
        # All names are looked up before anything is deleted: a slip in the last one deletes nothing.
        found = [describe_subscription(store, name).name for name in dict.fromkeys(names)]
        word = "subscription" if len(found) == 1 else "subscriptions"
        if not confirm(env, f"delete {word} {', '.join(map(repr, found))}?", yes=yes):
            note(env, "nothing was deleted")
            return ExitCode.FAILED
        for name in found:
            delete_subscription(store, name)
            note(env, f"deleted subscription '{name}'")
    return ExitCode.OK


def _list_row(found: SubscriptionDescription) -> tuple[object, ...]:
    return (
        found.name,
        ",".join(found.settings.topics),
        found.lag,
        found.in_flight,
        found.waiting,
        found.parked,
        len(found.consumers),
    )


def _parked_row(parked: ParkedMessage) -> tuple[object, ...]:
    text = None
    if parked.message is not None:
        text = parked.message.value.decode()
        if len(text) > _VALUE_CHARACTERS:
            text = text[: _VALUE_CHARACTERS - 3] + "..."
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(parked.parked_ms / 1000))
    return parked.topic, parked.partition, parked.offset, parked.deliveries, when, text


def _parked_json(parked: ParkedMessage) -> dict[str, object]:
    """The message as `consume --json` shows it, with what the subscription knows of it."""
    import msgspec

    shown: dict[str, object] = {
        "topic": parked.topic,
        "partition": parked.partition,
        "offset": parked.offset,
        "deliveries": parked.deliveries,
        "parked": parked.parked_ms,
    }
    message = parked.message
    if message is not None:
        shown["timestamp"] = message.timestamp_ms
        shown["key"] = msgspec.Raw(message.key or b"null")
        shown["headers"] = msgspec.Raw(message.headers or b"[]")
        shown["value"] = msgspec.Raw(message.value)
    return shown


def _place_of(text: str, known: list[tuple[str, int]]) -> tuple[str, int, int]:
    """The topic, the partition and the offset that an argument means."""
    words = text.split(":")
    if len(words) > 3 or not all(word.isdecimal() for word in words[-2:]):
        raise UsageError(f"{text} is no offset; write 17, 0:17 or orders:0:17")
    offset = int(words[-1])
    topics = {words[0]} if len(words) == 3 else {topic for topic, _ in known}
    meant = [
        (topic, partition)
        for topic, partition in known
        if topic in topics and (len(words) == 1 or partition == int(words[-2]))
    ]
    if not meant:
        raise UsageError(f"{text} is in no partition that the subscription delivers")
    if len(meant) > 1:
        raise UsageError(f"{text} may be in several partitions; write TOPIC:PARTITION:OFFSET")
    return *meant[0], offset


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
