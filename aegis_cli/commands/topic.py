"""`aegis topic`: create, list, describe, alter, delete and clean topics, and find their files."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from aegis_cli.context import Env
from aegis_cli.exits import ExitCode, UsageError, describe
from aegis_cli.options import DryRunOption, LockWaitOption, TopicArgument, YesOption, env_of
from aegis_cli.output import confirm, note, warn, write_json, write_line, write_table
from aegis_cli.store_access import open_store, open_store_for_reading
from aegis_cli.topic_options import (
    ConfigOption,
    DurabilityOption,
    KeyOption,
    PartitionsOption,
    ReplicationFactorOption,
    RetentionBytesOption,
    RetentionOption,
    SegmentBytesOption,
    setting_texts,
)
from storage import config
from storage.alter import alter_topic
from storage.describe import TopicDescription, describe_topic, segment_files
from storage.errors import DamageError, PartitionNotFoundError, TopicChangedError, TopicExistsError
from storage.maintenance import overdue
from storage.topic import TopicSettings, check_replication_factor
from storage.topic_config import as_texts, changed

app = typer.Typer(
    help="""Create, show, change and delete topics.

A topic is a directory of plain JSON Lines files below the store's topics/, one directory a partition.

Example:
  aegis topic create orders --partitions 4 --retention 7d
  aegis topic describe orders
"""
)

NewTopicArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of the new topic: A-Z a-z 0-9 . _ -", show_default=False),
]
SomeTopicsArgument = Annotated[
    list[str], typer.Argument(metavar="TOPIC", help="Names of the topics.", show_default=False)
]
OptionalTopicArgument = Annotated[
    str | None,
    typer.Argument(metavar="TOPIC", help="Name of the topic; without it all topics.", show_default=False),
]


@app.command("create")
def create(
    context: typer.Context,
    name: NewTopicArgument,
    partitions: PartitionsOption = None,
    retention: RetentionOption = None,
    retention_bytes: RetentionBytesOption = None,
    key: KeyOption = None,
    segment_bytes: SegmentBytesOption = None,
    durability: DurabilityOption = None,
    replication_factor: ReplicationFactorOption = 1,
    config: ConfigOption = None,
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="Do nothing if it exists.", show_default=False)
    ] = False,
    lock_wait: LockWaitOption = None,
) -> None:
    """Make a topic, and the store too if there is none.

    Example:
      aegis topic create orders --partitions 4 --key customer_id
      aegis topic create audit --retention forever --if-not-exists
    """
    env = env_of(context)
    check_replication_factor(replication_factor)
    texts = setting_texts(
        config,
        {
            "partitions": partitions,
            "retention": retention,
            "retention-bytes": retention_bytes,
            "key": key,
            "segment-bytes": segment_bytes,
            "durability": durability.value if durability else None,
        },
    )
    defaults = _defaults(env)
    settings = changed(defaults, texts, defaults=defaults)
    with open_store(env, create=True, lock_wait=lock_wait) as store:
        try:
            store.create_topic(name, settings)
        except TopicExistsError as error:
            if not if_not_exists or error.existing != name:
                raise
            note(env, f"topic '{name}' exists already")
        else:
            note(
                env, f"created topic '{name}' with {_count(settings.partitions, 'partition')} in {store.path}"
            )
        if env.json:
            write_json(env, _as_json(describe_topic(store, name)))


@app.command("list")
def list_topics(context: typer.Context) -> int:
    """List all topics.

    Example:
      aegis topic list
      aegis topic list --json | jq -r .name
    """
    env = env_of(context)
    found, damaged = [], []
    with open_store_for_reading(env) as store:
        for name in store.topics():
            try:
                found.append(describe_topic(store, name))
            except TopicChangedError:
                continue  # deleted meanwhile
            except DamageError as error:
                damaged.append(error)
    if env.json:
        for topic in found:
            write_json(env, _as_json(topic))
    else:
        rows = [_list_row(topic) for topic in found]
        write_table(env, ("topic", "partitions", "records", "bytes", "retention", "last append"), rows)
    for damage in damaged:
        warn(env, describe(damage))
    return ExitCode.DAMAGED if damaged else ExitCode.OK


@app.command("describe")
def describe_one(context: typer.Context, name: TopicArgument) -> None:
    """Show a topic: its settings, and offsets, sizes, times and the writer of each partition.

    Example:
      aegis topic describe orders
      aegis topic describe orders --json | jq '.partitions[].end_offset'
    """
    env = env_of(context)
    with open_store_for_reading(env) as store:
        topic = describe_topic(store, name)
    if env.json:
        write_json(env, _as_json(topic))
        return
    facts = {"topic": topic.name, "id": topic.topic_id, "directory": topic.directory}
    facts |= {name: text or "-" for name, text in as_texts(topic.settings).items()}
    facts |= {"replication-factor": "1"}
    width = max(map(len, facts))
    for fact, text in facts.items():
        write_line(env, f"{fact.ljust(width)}  {text}")
    write_line(env, "")
    columns = ("partition", "start", "end", "records", "bytes", "segments", "oldest", "newest", "lock")
    rows = [
        (
            part.partition,
            part.start_offset,
            part.end_offset,
            part.records,
            part.size_bytes,
            part.segments,
            _local_time(part.oldest_timestamp_ms),
            _local_time(part.newest_timestamp_ms),
            part.lock_holder,
        )
        for part in topic.partitions
    ]
    write_table(env, columns, rows)


@app.command("alter")
def alter(
    context: typer.Context,
    name: TopicArgument,
    partitions: PartitionsOption = None,
    retention: RetentionOption = None,
    retention_bytes: RetentionBytesOption = None,
    key: KeyOption = None,
    segment_bytes: SegmentBytesOption = None,
    durability: DurabilityOption = None,
    replication_factor: ReplicationFactorOption = 1,
    config: ConfigOption = None,
    lock_wait: LockWaitOption = None,
) -> None:
    """Change settings of a topic. Partitions can be added, never taken away; the key stays.

    Example:
      aegis topic alter orders --retention 30d
      aegis topic alter orders --config segment-age=1d --config retention-bytes=
    """
    env = env_of(context)
    check_replication_factor(replication_factor)
    texts = setting_texts(
        config,
        {
            "partitions": partitions,
            "retention": retention,
            "retention-bytes": retention_bytes,
            "key": key,
            "segment-bytes": segment_bytes,
            "durability": durability.value if durability else None,
        },
    )
    if not texts:
        raise UsageError("nothing to alter; give an option such as --retention 7d")
    with open_store(env, lock_wait=lock_wait) as store:
        defaults = _defaults(env)
        before, topic = alter_topic(store, name, lambda current: changed(current, texts, defaults=defaults))
        was, now = as_texts(before), as_texts(topic.settings)
        for setting in now:
            if was[setting] != now[setting]:
                note(env, f"topic '{name}': {setting} is {now[setting] or '-'}, was {was[setting] or '-'}")
        if env.json:
            write_json(env, _as_json(describe_topic(store, name)))


@app.command("delete")
def delete(
    context: typer.Context,
    names: SomeTopicsArgument,
    yes: YesOption = False,
    lock_wait: LockWaitOption = None,
) -> int:
    """Delete topics and all their messages. Asks first.

    Example:
      aegis topic delete orders
      aegis topic delete orders audit --yes
    """
    env = env_of(context)
    with open_store(env, lock_wait=lock_wait) as store:
        # All names are looked up before anything is deleted: a slip in the last one deletes nothing.
        topics = [store.topic(name).name for name in dict.fromkeys(names)]
        word = "topic" if len(topics) == 1 else "topics"
        question = f"delete {word} {', '.join(map(repr, topics))} with all messages?"
        if not confirm(env, question, yes=yes):
            note(env, "nothing was deleted")
            return ExitCode.FAILED
        for name in topics:
            store.delete_topic(name)
            note(env, f"deleted topic '{name}'")
    return ExitCode.OK


@app.command("clean")
def clean(
    context: typer.Context,
    name: OptionalTopicArgument = None,
    dry_run: DryRunOption = False,
    lock_wait: LockWaitOption = None,
) -> None:
    """Remove what retention no longer keeps. Whole segments go, never the newest.

    Example:
      aegis topic clean --dry-run
      aegis topic clean orders
    """
    env = env_of(context)
    if dry_run:
        with open_store_for_reading(env) as store:
            topics = [store.topic(each) for each in (store.topics() if name is None else [name])]
            removals = [found for topic in topics for found in overdue(topic, now_ms=store.clock_ms())]
    else:
        with open_store(env, lock_wait=lock_wait) as store:
            removals = store.maintenance.clean(name)
    if env.json:
        for removal in removals:
            write_json(env, removal)
        return
    rows = [
        (
            removal.topic,
            removal.partition,
            removal.old_start_offset,
            removal.new_start_offset,
            removal.segments,
            removal.size_bytes,
            removal.reason,
        )
        for removal in removals
    ]
    if rows:
        columns = ("topic", "partition", "old start", "new start", "segments", "bytes", "reason")
        write_table(env, columns, rows)
    else:
        note(env, "nothing to remove")


@app.command("files")
def files(
    context: typer.Context,
    name: TopicArgument,
    partition: Annotated[
        int | None,
        typer.Option("--partition", "-p", metavar="N", help="Only this partition.", show_default=False),
    ] = None,
) -> None:
    """Print the paths of a topic's JSON Lines files, oldest first, for other tools.

    The last lines of the newest file may be part of an append that is under way.

    Example:
      cat $(aegis topic files orders) | jq .amount
      tail -F "$(aegis topic files orders --partition 0 | tail -n 1)"
    """
    env = env_of(context)
    with open_store_for_reading(env) as store:
        topic = store.topic(name)
        if partition is not None and not 0 <= partition < topic.partitions:
            raise PartitionNotFoundError(name, partition, topic.partitions)
        wanted = range(topic.partitions) if partition is None else [partition]
        segments = [segment for number in wanted for segment in segment_files(topic, number)]
    for segment in segments:
        if env.json:
            write_json(env, segment)
        else:
            write_line(env, segment.path)


def _defaults(env: Env) -> TopicSettings:
    """What a topic of this store has unless it says otherwise."""
    known = config.load(env.store_path, environ=env.environ)
    return TopicSettings(retention_ms=known.default_retention_ms, durability=known.durability)


def _list_row(topic: TopicDescription) -> tuple[object, ...]:
    return (
        topic.name,
        len(topic.partitions),
        topic.records,
        topic.size_bytes,
        as_texts(topic.settings)["retention"],
        _local_time(topic.newest_append_time_ms),
    )


def _as_json(topic: TopicDescription) -> dict[str, object]:
    return {
        "name": topic.name,
        "id": topic.topic_id,
        "directory": topic.directory,
        "settings": topic.settings,
        "records": topic.records,
        "size_bytes": topic.size_bytes,
        "partitions": topic.partitions,
    }


def _local_time(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ms / 1000))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
