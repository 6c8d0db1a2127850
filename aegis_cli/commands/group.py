"""`aegis group`: list, describe, reset and delete consumer groups."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from aegis_cli.context import Env
from aegis_cli.exits import ExitCode, UsageError, describe
from aegis_cli.options import DryRunOption, LockWaitOption, YesOption, env_of, parsed
from aegis_cli.output import confirm, note, warn, write_json, write_line, write_table
from aegis_cli.store_access import open_store, open_store_for_reading
from storage.group_admin import (
    GroupDescription,
    PlaceDescription,
    check_unused,
    delete_group,
    describe_group,
    list_groups,
)

app = typer.Typer(
    help="""Show, reset and delete consumer groups.

The members of a group share the partitions of its topics, and the store keeps how far each was read.
'aegis consume TOPIC --group GROUP' joins a group, and makes it if there is none.

Example:
  aegis group describe processors
  aegis group reset processors --to earliest --dry-run
"""
)

GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.", show_default=False)]
SomeGroupsArgument = Annotated[
    list[str], typer.Argument(metavar="GROUP", help="Names of the groups.", show_default=False)
]


@app.command("list")
def list_all(context: typer.Context) -> int:
    """List all groups: members that live, partitions, and how many messages lie ahead.

    Example:
      aegis group list
      aegis group list --json | jq -r 'select(.lag > 1000) | .name'
    """
    env = env_of(context)
    with open_store_for_reading(env) as store:
        found = list_groups(store)
    if env.json:
        for group in found.groups:
            write_json(env, group)
    else:
        rows = [
            (group.name, group.generation, group.members, group.partitions, group.lag, ",".join(group.topics))
            for group in found.groups
        ]
        write_table(env, ("group", "generation", "members", "partitions", "lag", "topics"), rows)
    for damage in found.damage:
        warn(env, describe(damage))
    return ExitCode.DAMAGED if found.damage else ExitCode.OK


@app.command("describe")
def describe_one(context: typer.Context, name: GroupArgument) -> int:
    """Show a group: its members, and position, lag and rate of each partition.

    The lag counts the offsets from the position to the end. The rate is that of the last minute, in messages
    a second. A member is silent after its session timeout, and dead until the others have noticed. The
    partitions of a topic that was deleted keep their positions, which nothing reads any more.

    Example:
      aegis group describe processors
      aegis group describe processors --json | jq '.partitions[] | select(.lag > 0)'
    """
    env = env_of(context)
    with open_store_for_reading(env) as store:
        group = describe_group(store, name)
    if env.json:
        write_json(env, _as_json(group))
    else:
        _write_description(env, group)
    for damage in group.damage:
        warn(env, describe(damage))
    return ExitCode.DAMAGED if group.damage else ExitCode.OK


@app.command("reset")
def reset(
    context: typer.Context,
    name: GroupArgument,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Go to earliest, latest, an offset N, +N or -N from start or end, or a time.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        int | None,
        typer.Option(metavar="N", help="Go N messages on, or back where N is negative.", show_default=False),
    ] = None,
    to_group: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help="Go to where another group is.", show_default=False),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOPIC",
            help="All partitions of this topic and no others; repeatable.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRunOption = False,
    lock_wait: LockWaitOption = None,
) -> None:
    """Set the positions of a group, also while its members run.

    What a running member had in hand is then refused when it commits it, and it goes on from the new
    position. A position stays between the oldest message and the end. Without --topic it sets the positions
    of all partitions that the group reads. Times are those of consume: 2024-05-01, @10:30, -1h; a plain
    number is an offset.

    Example:
      aegis group reset processors --to earliest --dry-run
      aegis group reset processors --to -1h --topic orders
      aegis group reset processors --by -100
      aegis group reset rehearsal --to-group processors
    """
    from storage.group_reset import parse_target, reset_group

    env = env_of(context)
    if 1 != sum(wanted is not None for wanted in (to, by, to_group)):
        raise UsageError("where to is not clear; give one of --to, --by and --to-group")
    opened = open_store_for_reading(env) if dry_run else open_store(env, lock_wait=lock_wait)
    with opened as store:
        now_ms = store.clock_ms()
        place = (
            None if to is None else parsed(lambda text: parse_target(text, now_ms=now_ms), to, option="--to")
        )
        topics = None if topic is None else list(dict.fromkeys(topic))
        resets = reset_group(store, name, to=place, by=by, to_group=to_group, topics=topics, dry_run=dry_run)
    if env.json:
        for each in resets:
            write_json(env, each)
    elif resets:
        rows = [(each.topic, each.partition, each.before, each.after) for each in resets]
        write_table(env, ("topic", "partition", "before", "after"), rows)
    if not resets:
        note(env, f"group '{name}' has no position to set")
    elif not dry_run:
        positions = "1 position" if len(resets) == 1 else f"{len(resets)} positions"
        note(env, f"set {positions} of group '{name}'")


@app.command("delete")
def delete(
    context: typer.Context,
    names: SomeGroupsArgument,
    yes: YesOption = False,
    lock_wait: LockWaitOption = None,
) -> int:
    """Delete groups and their positions; the messages stay. Asks first.

    A group that has members is not deleted: end them first.

    Example:
      aegis group delete rehearsal
      aegis group delete rehearsal processors --yes
    """
    env = env_of(context)
    with open_store(env, lock_wait=lock_wait) as store:
        groups = list(dict.fromkeys(names))
        # All are looked at before anything is deleted: a slip in the last name deletes nothing.
        for name in groups:
            check_unused(store, name)
        word = "group" if len(groups) == 1 else "groups"
        question = f"delete {word} {', '.join(map(repr, groups))} with all positions?"
        if not confirm(env, question, yes=yes):
            note(env, "nothing was deleted")
            return ExitCode.FAILED
        for name in groups:
            delete_group(store, name)
            note(env, f"deleted group '{name}'")
    return ExitCode.OK


def _write_description(env: Env, group: GroupDescription) -> None:
    facts = {
        "group": group.name,
        "generation": group.generation,
        "members": len(group.members),
        "partitions": len(group.places),
        "lag": group.lag,
        "messages/s": _rate(group.messages_per_second),
    }
    facts |= {f"bytes of {path}": size for path, size in group.files.items()}
    width = max(map(len, facts))
    for fact, value in facts.items():
        write_line(env, f"{fact.ljust(width)}  {'-' if value is None else value}")
    if group.members:
        write_line(env, "")
        rows = [
            (
                member.member_id,
                member.process,
                member.state,
                _local_time(member.joined_ms),
                sum(map(len, member.partitions.values())),
                ",".join(member.topics),
            )
            for member in group.members
        ]
        write_table(env, ("member", "process", "state", "joined", "partitions", "topics"), rows)
    if group.places:
        write_line(env, "")
        write_table(
            env,
            ("topic", "partition", "position", "start", "end", "lag", "messages/s", "member", "note"),
            [_place_row(place) for place in group.places],
        )


def _place_row(place: PlaceDescription) -> tuple[object, ...]:
    return (
        place.topic,
        place.partition,
        place.position,
        place.start_offset,
        place.end_offset,
        place.lag,
        _rate(place.messages_per_second),
        place.owner,
        _note(place),
    )


def _note(place: PlaceDescription) -> str | None:
    """What is special about a partition, in words."""
    if place.state != "ok":
        return f"topic {place.state}"
    return f"goes to {place.following}" if place.following else None


def _as_json(group: GroupDescription) -> dict[str, object]:
    return {
        "name": group.name,
        "generation": group.generation,
        "lag": group.lag,
        "messages_per_second": group.messages_per_second,
        "members": group.members,
        "partitions": group.places,
        "files": group.files,
    }


def _rate(messages_per_second: float | None) -> float | None:
    return None if messages_per_second is None else round(messages_per_second, 1)


def _local_time(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ms / 1000))
