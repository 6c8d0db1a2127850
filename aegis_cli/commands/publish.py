"""`aegis publish`: append messages to a topic."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import typer

from aegis_cli.context import Env
from aegis_cli.exits import Terminated, UsageError
from aegis_cli.options import LockWaitOption, env_of, parsed
from aegis_cli.output import note, warn, write_json
from aegis_cli.store_access import open_store
from storage.batch import Receipt
from storage.config import Config, load
from storage.errors import InvalidRecordError
from storage.intake import Intake, IntakeOptions
from storage.publish import LINGER_MS_DEFAULT, Published, publish_values
from storage.store import Store
from storage.topic import Topic, TopicSettings

PANEL_RECORDS = "Records"
PANEL_INPUT = "Input"

TopicOrNoneArgument = Annotated[
    str | None,
    typer.Argument(metavar="[TOPIC]", help="Name of the topic, unless --topic-field says it."),
]
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
AtomicOption = Annotated[
    bool, typer.Option("--atomic", help="Publish all of the input at once, or nothing of it.")
]
TopicFieldOption = Annotated[
    str | None,
    typer.Option("--topic-field", metavar="FIELD", help="Field of each line that names its topic."),
]
ProducerOption = Annotated[
    str | None,
    typer.Option(
        "--producer", metavar="NAME", help="Remember what is published; the same command again continues."
    ),
]
ReceiptsOption = Annotated[
    bool, typer.Option("--receipts", help="Print partition and offsets of each append as JSON.")
]


def publish(
    context: typer.Context,
    topic: TopicOrNoneArgument = None,
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
    atomic: AtomicOption = False,
    topic_field: TopicFieldOption = None,
    producer: ProducerOption = None,
    receipts: ReceiptsOption = False,
    lock_wait: LockWaitOption = None,
) -> int:
    """Append messages to a topic; done when they are on disk.

    Each line of stdin, or of --file, is one JSON value. With VALUE, stdin is not read.

    With --atomic all of the input is published, or nothing of it. It may have up to 64 MiB, keys and headers
    counted, and go to several topics with --topic-field.

    With --producer the store remembers, together with the messages, how many lines of the input are published
    to the topic. After a crash, a kill or a line that was refused, run the same command on the same input,
    from its start: what is published is skipped, and every line is published once. Of lines without a key,
    each thousand goes to the next partition. The last line must have a line end.

    Example:
      aegis publish orders '{"id": 1}' -k order-1
      tail -f app.log | aegis publish logs --text
      aegis publish orders --file orders.jsonl --key-field id
      aegis publish --atomic --topic-field type --file changes.jsonl
      aegis publish orders --producer import-7 --file orders.jsonl
    """
    env = env_of(context)
    _check_options(context)
    config = load(env.store_path, environ=env.environ)
    with open_store(env, create=create, lock_wait=lock_wait) as store:
        options = IntakeOptions(
            max_record_bytes=config.message_bytes_max,
            key=None if key is None else _json_string(key, option="--key"),
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
        )

        def options_of(target: Topic) -> IntakeOptions:
            limit = target.settings.max_message_bytes or config.message_bytes_max
            return replace(options, max_record_bytes=limit)

        def intake_of(target: Topic) -> Intake:
            try:
                return Intake(store, target, options_of(target))
            except ValueError as error:
                raise UsageError(str(error)) from error

        published = Published()
        show = _printer(env, receipts)
        target = None if topic is None else _topic(store, topic, config, create=create)
        try:
            if target is not None and (values or binary):
                data = [os.fsencode(value) for value in values or []]
                if binary:
                    from aegis_cli.publishing import binary_values

                    limit = options_of(target).max_record_bytes
                    data = binary_values(data, file, max_record_bytes=limit, empty_is_null=tombstone)
                publish_values(store, intake_of(target), data, on_receipts=show, published=published)
            else:
                from aegis_cli.publishing import Publishing

                publishing = Publishing(env, store, intake_of, file, linger, show, published)
                if target is None:
                    publishing.to_many_topics(str(topic_field), line_bytes_max=config.message_bytes_max)
                elif producer is not None:
                    publishing.as_producer(producer, target, options_of(target))
                elif atomic:
                    publishing.at_once(target)
                else:
                    publishing.as_it_comes(target)
        except (KeyboardInterrupt, Terminated):
            doubt = f", {published.in_doubt} more are in doubt" if published.in_doubt else ""
            warn(env, f"interrupted after {_records(published.records)} published{doubt}")
            raise
        except Exception as error:
            # An error in the input counts them itself.
            if published.records and not isinstance(error, InvalidRecordError):
                warn(env, f"{_records(published.records)} published before this error")
            raise
        finally:
            _tell(env, published)
        _summary(env, topic, producer, published)
    return 0


# What says the same thing in different ways, and what envelopes and values of bytes leave no room for.
_ONE_OF = (
    ("--key", "--key-field", "--key-separator"),
    ("--timestamp", "--timestamp-field"),
    ("--text", "--binary", "--envelope"),
    ("--atomic", "--producer"),
    *(("--producer", option) for option in ("--values", "--binary", "--expect-offset", "--topic-field")),
    *(
        ("--topic-field", option)
        for option in (
            *("--values", "--text", "--binary", "--key-separator", "--tombstone"),
            *("--create", "--expect-offset"),
        )
    ),
    ("--text", "--key-field"),
    ("--text", "--timestamp-field"),
    ("--binary", "--key-field"),
    ("--binary", "--key-separator"),
    ("--binary", "--timestamp-field"),
    *(
        ("--envelope", option)
        for option in (
            *("--key", "--key-field", "--key-separator", "--header"),
            *("--timestamp", "--timestamp-field", "--tombstone"),
        )
    ),
)


_WORDS = {"--values": "values"}


def _check_options(context: typer.Context) -> None:
    """Refuse options that contradict one another, and values that none can have."""
    given = {
        f"--{name.replace('_', '-')}": value
        for name, value in context.params.items()
        if value is not None and value is not False and value not in ([], ())
    }
    if given.get("--values") and "--file" in given:
        raise UsageError("values and --file exclude each other; give one of them")
    for names in _ONE_OF:
        present = [_WORDS.get(name, name) for name in names if name in given]
        if len(present) > 1:
            raise UsageError(f"{present[0]} and {present[1]} exclude each other; give one of them")
    _check_topic(given)
    for name in ("--key-separator", "--key-field", "--timestamp-field", "--topic-field", "--producer"):
        if given.get(name) == "":
            raise UsageError(f"{name} is empty; give one or more characters")
    if "\n" in given.get("--key-separator", ""):
        raise UsageError("--key-separator holds a line end; lines are parted by those already")
    for name in ("--linger", "--expect-offset"):
        if given.get(name, 0) < 0:
            raise UsageError(f"{name} is {given[name]}; use 0 or more")


def _check_topic(given: dict[str, Any]) -> None:
    by_field = "--topic-field" in given
    if by_field == ("--topic" in given):
        raise UsageError(
            "TOPIC and --topic-field exclude each other; give one of them"
            if by_field
            else "no topic; name it, or let each line name its own with --atomic --topic-field FIELD"
        )
    if by_field and "--atomic" not in given:
        raise UsageError("--topic-field is for what is published at once; add --atomic")
    if by_field and given.get("--on-error") == "skip":
        raise UsageError("--topic-field and --on-error skip exclude each other; give one of them")


def _topic(store: Store, name: str, config: Config, *, create: bool) -> Topic:
    if not create:
        return store.topic(name)
    settings = TopicSettings(durability=config.durability, retention_ms=config.default_retention_ms)
    return store.create_topic(name, settings, if_not_exists=True)


def _json_string(text: str, *, option: str) -> bytes:
    import msgspec

    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError as error:
        raise UsageError(f"{option} is not UTF-8; use --envelope for bytes") from error


def _unescaped(delimiter: str) -> bytes:
    """The delimiter, with the escapes that a shell makes hard to type."""
    return os.fsencode(delimiter.replace("\\t", "\t").replace("\\0", "\0"))


def _headers(given: list[str]) -> bytes | None:
    """`NAME=VALUE` or `NAME:VALUE`, whichever sign comes first, as the JSON list that is stored."""
    if not given:
        return None
    items = []
    for text in given:
        at = min((place for place in (text.find("="), text.find(":")) if place > 0), default=0)
        if not at:
            raise UsageError(f"header {text!r} has no name and value; write it as NAME=VALUE")
        name, value = (_json_string(part, option="--header") for part in (text[:at], text[at + 1 :]))
        items.append(b'{"key":%b,"value":%b}' % (name, value))
    return b"[%b]" % b",".join(items)


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

    reader_left = False

    def show(receipts: list[Receipt]) -> None:
        nonlocal reader_left
        if reader_left:
            return
        try:
            for receipt in receipts:
                write_json(env, receipt)
            env.stdout.flush()
        except BrokenPipeError:
            # Whoever read the receipts has seen enough; the messages are published all the same.
            reader_left = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), env.stdout.fileno())

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


def _summary(env: Env, topic: str | None, producer: str | None, published: Published) -> None:
    if env.json:
        summary = {
            "topic": topic,
            "records": published.records,
            "blank_lines": published.blank_lines,
            "refused_lines": published.refused_lines,
        }
        if producer is not None:
            summary |= {"producer": producer, "lines_before": published.lines_before}
        write_json(env, summary)
    elif env.stderr_is_terminal:
        where = "several topics" if topic is None else topic
        before = f", {published.lines_before} lines were before" if published.lines_before else ""
        note(env, f"published {published.records} {_noun(published.records)} to {where}{before}")


def _records(count: int) -> str:
    return f"{count} {_noun(count)} {'was' if count == 1 else 'were'}"


def _noun(count: int) -> str:
    return "record" if count == 1 else "records"
