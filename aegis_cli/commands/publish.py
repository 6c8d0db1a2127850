"""`aegis publish`: append messages to a topic."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Literal

import typer

from aegis_cli.context import Env
from aegis_cli.exits import UsageError
from aegis_cli.options import LockWaitOption, TopicArgument, env_of, parsed
from aegis_cli.output import note, progress, warn, write_json
from aegis_cli.store_access import open_store
from storage.batch import Receipt
from storage.config import Config, load
from storage.errors import InvalidRecordError
from storage.intake import Intake, IntakeOptions
from storage.lines import binary_value, single_value
from storage.publish import LINGER_MS_DEFAULT, Published, publish_stream, publish_values
from storage.store import Store
from storage.topic import Topic, TopicSettings

PANEL_RECORDS = "Records"
PANEL_INPUT = "Input"

ValuesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VALUE]...", help="Values; without any, JSON Lines are read from stdin."),
]
FileOption = Annotated[
    str | None, typer.Option("--file", metavar="FILE", help="Read this file instead of stdin.")
]
KeyOption = Annotated[str | None, typer.Option("-k", "--key", metavar="KEY", help="Key of every record.")]
KeyFieldOption = Annotated[
    str | None, typer.Option("--key-field", metavar="FIELD", help="Field of each record that is its key.")
]
KeySeparatorOption = Annotated[
    str | None,
    typer.Option("-K", "--key-separator", metavar="DELIM", help="Each line is a key, DELIM, a value."),
]
HeaderOption = Annotated[
    list[str] | None, typer.Option("-H", "--header", metavar="NAME=VALUE", help="Header; repeatable.")
]
PartitionOption = Annotated[
    int | None, typer.Option("-p", "--partition", metavar="N", help="Partition; default: by key or in turn.")
]
TimestampOption = Annotated[
    str | None, typer.Option("--timestamp", metavar="TIME", help="Timestamp of every record.")
]
TimestampFieldOption = Annotated[
    str | None, typer.Option("--timestamp-field", metavar="FIELD", help="Field that is the timestamp.")
]
TextOption = Annotated[bool, typer.Option("--text", help="Lines are text and become JSON strings.")]
BinaryOption = Annotated[bool, typer.Option("--binary", help="The whole input is one value of bytes.")]
EnvelopeOption = Annotated[
    bool, typer.Option("--envelope", help="Lines are what 'aegis consume --json' prints.")
]
NullOption = Annotated[
    bool, typer.Option("-Z", "--tombstone", help="An empty value is null, which deletes its key.")
]
CreateOption = Annotated[bool, typer.Option("--create", help="Create the topic if there is none.")]
OnErrorOption = Annotated[
    str, typer.Option("--on-error", metavar="stop|skip", help="What to do at a line that is not valid.")
]
LingerOption = Annotated[
    int, typer.Option("--linger", metavar="MS", help="Wait so long for more input before appending.")
]
ExpectOption = Annotated[
    int | None, typer.Option("--expect-offset", metavar="N", help="Publish only if the next offset is N.")
]
ReceiptsOption = Annotated[
    bool, typer.Option("--receipts", help="Print partition and offsets of each append as JSON.")
]


def publish(
    context: typer.Context,
    topic: TopicArgument,
    values: ValuesArgument = None,
    file: FileOption = None,
    key: KeyOption = None,
    key_field: KeyFieldOption = None,
    key_separator: KeySeparatorOption = None,
    header: HeaderOption = None,
    partition: PartitionOption = None,
    timestamp: TimestampOption = None,
    timestamp_field: TimestampFieldOption = None,
    text: TextOption = False,
    binary: BinaryOption = False,
    envelope: EnvelopeOption = False,
    tombstone: NullOption = False,
    create: CreateOption = False,
    on_error: OnErrorOption = "stop",
    linger: LingerOption = LINGER_MS_DEFAULT,
    expect_offset: ExpectOption = None,
    receipts: ReceiptsOption = False,
    lock_wait: LockWaitOption = None,
) -> int:
    """Append messages to a topic; done when they are on disk.

    Each line of stdin, or of --file, is one JSON value. With VALUE, stdin is not read.

    Example:
      aegis publish orders '{"id": 1}' -k order-1
      tail -f app.log | aegis publish logs --text
      aegis publish orders --file orders.jsonl --key-field id
    """
    env = env_of(context)
    _check_sources(key=key, key_field=key_field, key_separator=key_separator, envelope=envelope, text=text)
    if (values or binary) and file is not None and values:
        raise UsageError("values and --file exclude each other; give one of them")
    config = load(env.store_path, environ=env.environ)
    with open_store(env, create=create, lock_wait=lock_wait) as store:
        target = _topic(store, topic, config, create=create)
        intake = Intake(
            store,
            target,
            IntakeOptions(
                max_record_bytes=target.settings.max_message_bytes or config.message_bytes_max,
                key=None if key is None else _json_string(key),
                key_field=key_field,
                key_delimiter=None if key_separator is None else _unescaped(key_separator),
                headers=_headers(header or []),
                partition=partition,
                timestamp_ms=_time(timestamp, store.clock_ms()),
                timestamp_field=timestamp_field,
                text=text,
                envelope=envelope,
                empty_is_null=tombstone,
                on_error=_on_error(on_error),
                expect_offset=expect_offset,
            ),
        )
        published = Published()
        try:
            if values or binary:
                data = _values(env, values, file, text=text, binary=binary, tombstone=tombstone)
                published = publish_values(store, intake, data, on_receipts=_printer(env, receipts))
            else:
                _stream(env, store, intake, file, linger, _printer(env, receipts), published)
        except KeyboardInterrupt:
            warn(env, f"interrupted after {published.records} records were published")
            raise
        finally:
            _tell(env, published)
        _summary(env, target, published)
    return 0


def _stream(
    env: Env,
    store: Store,
    intake: Intake,
    file: str | None,
    linger_ms: int,
    on_receipts: Callable[[list[Receipt]], None] | None,
    published: Published,
) -> None:
    """Publish stdin or a file, with a progress bar for a file."""
    if file is None or file == "-":
        if env.stdin_is_terminal:
            note(env, "reading JSON Lines from the terminal; end with Ctrl-D")
        publish_stream(
            store, intake, 0, linger_ms=linger_ms, on_receipts=on_receipts, published=published
        )
        return
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with progress(env, f"publishing {file}", total=os.fstat(fd).st_size) as bar:
            publish_stream(
                store,
                intake,
                fd,
                linger_ms=linger_ms,
                on_receipts=on_receipts,
                on_progress=bar.advance,
                published=published,
            )
    finally:
        os.close(fd)


def _values(
    env: Env, values: list[str] | None, file: str | None, *, text: bool, binary: bool, tombstone: bool
) -> list[bytes]:
    """The values of the command line, or the whole input as one, as lines for the intake."""
    if not values:
        fd = 0 if file is None or file == "-" else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        with open(fd, "rb", closefd=fd != 0) as source:
            return [binary_value(source.read(_BINARY_BYTES_MAX))]
    raw = [os.fsencode(value) for value in values]
    if binary:
        return [binary_value(value) for value in raw]
    if text:
        return raw
    limit = 1 << 30  # the intake knows the real one
    return [
        single_value(value, max_record_bytes=limit, empty_is_null=tombstone, number=number)
        for number, value in enumerate(raw, start=1)
    ]


# One value is held in memory as text four thirds its size; the limit of a message comes far below.
_BINARY_BYTES_MAX = 1 << 28


def _check_sources(
    *, key: str | None, key_field: str | None, key_separator: str | None, envelope: bool, text: bool
) -> None:
    """Refuse options that contradict one another."""
    given = [
        name
        for name, value in (("--key", key), ("--key-field", key_field), ("--key-separator", key_separator))
        if value is not None
    ]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} exclude each other; give one of them")
    if envelope and (given or text):
        raise UsageError("--envelope brings its own keys and values; leave out the other options for them")
    if text and key_field is not None:
        raise UsageError("--text has no fields to take a key from; use --key or --key-separator")
    if key_separator == "":
        raise UsageError("--key-separator is empty; give one or more characters")


def _topic(store: Store, name: str, config: Config, *, create: bool) -> Topic:
    if not create:
        return store.topic(name)
    settings = TopicSettings(durability=config.durability, retention_ms=config.default_retention_ms)
    return store.create_topic(name, settings, if_not_exists=True)


def _json_string(text: str) -> bytes:
    import msgspec

    return msgspec.json.encode(text)


def _unescaped(delimiter: str) -> bytes:
    """The delimiter, with the escapes that a shell makes hard to type."""
    return delimiter.replace("\\t", "\t").replace("\\0", "\0").encode()


def _headers(given: list[str]) -> bytes | None:
    """`NAME=VALUE` or `NAME:VALUE`, whichever sign comes first, as the JSON list that is stored."""
    if not given:
        return None
    import msgspec

    items = []
    for text in given:
        at = min((place for place in (text.find("="), text.find(":")) if place > 0), default=0)
        if not at:
            raise UsageError(f"header {text!r} has no name and value; write it as NAME=VALUE")
        items.append({"key": text[:at], "value": text[at + 1 :]})
    return msgspec.json.encode(items)


def _time(text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    from storage.times import parse_time

    return parsed(lambda given: parse_time(given, now_ms=now_ms), text, option="--timestamp")


def _on_error(text: str) -> Literal["stop", "skip"]:
    if text == "stop":
        return "stop"
    if text == "skip":
        return "skip"
    raise UsageError(f"--on-error is '{text}'; use stop or skip")


def _printer(env: Env, wanted: bool) -> Callable[[list[Receipt]], None] | None:
    """What prints the receipts, if they are wanted."""
    if not wanted:
        return None

    def show(receipts: list[Receipt]) -> None:
        for receipt in receipts:
            write_json(env, receipt)
        env.stdout.flush()

    return show


def _tell(env: Env, published: Published) -> None:
    """Say what was left out or looks wrong."""
    for refusal in published.refusals:
        warn(env, f"skipped {_short(refusal)}")
    if published.refused_lines > len(published.refusals) > 0:
        warn(env, f"skipped {published.refused_lines} lines in all")
    if published.last_line_was_cut:
        warn(env, "the last line has no line end and may be cut; it was published as it is")


def _short(error: InvalidRecordError) -> str:
    return f"line {error.line}: {error.reason}"


def _summary(env: Env, topic: Topic, published: Published) -> None:
    if env.json:
        write_json(
            env,
            {
                "topic": topic.name,
                "records": published.records,
                "blank_lines": published.blank_lines,
                "refused_lines": published.refused_lines,
            },
        )
    elif env.stderr_is_terminal:
        records = "record" if published.records == 1 else "records"
        note(env, f"published {published.records} {records} to {topic.name}")
