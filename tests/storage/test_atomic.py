"""Publishing all of an input at once: everything in one record, or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from storage import Store, TopicSettings, atomic
from storage.atomic import Gathered, Gathering, publish_atomic
from storage.batch import Receipt
from storage.errors import InvalidRecordError, OffsetConflictError
from storage.intake import Intake, IntakeOptions
from storage.keys import partition_for
from storage.publish import Published
from storage.topic_field import ManyTopics
from storage.verify import verify

OPTIONS = IntakeOptions(max_record_bytes=1_000_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as opened:
        opened.create_topic("one")
        opened.create_topic("four", TopicSettings(partitions=4))
        yield opened


def to_topic(store: Store, topic: str, options: IntakeOptions = OPTIONS) -> Gathered:
    return Gathered(Intake(store, store.topic(topic), options))


def to_many(store: Store, options: IntakeOptions = OPTIONS, *, field: str = "to") -> ManyTopics:
    return ManyTopics(field, lambda name: Intake(store, store.topic(name), options), line_bytes_max=1_000_000)


def publish(
    store: Store, gathering: Gathering, lines: Sequence[bytes], *, receipts: list[Receipt] | None = None
) -> Published:
    with tempfile.TemporaryFile() as file:
        file.write(b"".join(line + b"\n" for line in lines))
        file.seek(0)
        show = None if receipts is None else receipts.extend
        return publish_atomic(store, gathering, file.fileno(), on_receipts=show)


def refusal(store: Store, gathering: Gathering, lines: Sequence[bytes]) -> str:
    """How it is refused; nothing is stored then."""
    before = everything(store)
    with pytest.raises(InvalidRecordError) as caught:
        publish(store, gathering, lines)
    assert before == everything(store)
    assert str(caught.value).endswith(" (nothing was published)")
    return str(caught.value).removesuffix(" (nothing was published)")


def everything(store: Store) -> dict[tuple[str, int], list[bytes]]:
    """The values of every partition that has any."""
    found = {}
    for name in store.topics():
        for partition in range(store.topic(name).partitions):
            values = [message.value for message in store.read(name, partition=partition)]
            if values:
                found[name, partition] = values
    return found


def records_in_journal(store: Store) -> int:
    return store.journal.end.sequence


def test_an_input_of_many_blocks_is_one_record(store: Store) -> None:
    lines = [b'{"id":%d,"fill":"%s"}' % (number, b"x" * 90) for number in range(120_000)]
    before = records_in_journal(store)
    receipts: list[Receipt] = []
    options = replace(OPTIONS, key_field="id")
    done = publish(store, to_topic(store, "four", options), [b"", *lines], receipts=receipts)
    assert before + 1 == records_in_journal(store)
    assert (120_000, 1) == (done.records, done.blank_lines)
    assert [("four", number) for number in range(4)] == [(one.topic, one.partition) for one in receipts]
    expected: dict[tuple[str, int], list[bytes]] = {("four", number): [] for number in range(4)}
    for number, line in enumerate(lines):
        expected["four", partition_for(b"%d" % number, 4)].append(line)
    assert expected == everything(store)
    assert [] == list(verify(store.path))


def test_a_bad_line_anywhere_keeps_all_of_it_out(store: Store) -> None:
    lines = [b"%d" % number for number in range(400_000)]
    for place in (0, 1, 250_000, len(lines)):
        said = refusal(store, to_topic(store, "one"), [*lines[:place], b"{bad", *lines[place:]])
        assert said.startswith(f"line {place + 1}: invalid JSON")
    assert {} == everything(store)


def test_lines_that_are_left_out_keep_nothing_else_out(store: Store) -> None:
    options = replace(OPTIONS, on_error="skip", max_record_bytes=1000)
    done = publish(store, to_topic(store, "one", options), [b"1", b"{bad", b"x" * 3_000_000, b"2"])
    assert (2, 2, [2, 3]) == (done.records, done.refused_lines, [one.line for one in done.refusals])
    assert {("one", 0): [b"1", b"2"]} == everything(store)


def test_an_empty_input_publishes_nothing(store: Store) -> None:
    before = records_in_journal(store)
    assert 0 == publish(store, to_topic(store, "one"), []).records
    assert 2 == publish(store, to_topic(store, "one"), [b"", b""]).blank_lines
    assert before == records_in_journal(store)


def test_an_offset_can_be_demanded(store: Store) -> None:
    options = replace(OPTIONS, expect_offset=0)
    publish(store, to_topic(store, "one", options), [b"1", b"2"])
    with pytest.raises(OffsetConflictError):
        publish(store, to_topic(store, "one", options), [b"3"])
    assert {("one", 0): [b"1", b"2"]} == everything(store)


def test_what_is_too_large_is_refused_while_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "BYTES_MAX", 3 << 20)
    line = b'"%s"' % (b"x" * 1021)
    said = refusal(store, to_topic(store, "one"), [line] * 9000)
    number, _, reason = said.partition(": ")
    assert 3 * 1024 < int(number.removeprefix("line ")) < 5 * 1024
    assert "the input up to here takes more than 3 MiB with its keys and headers, which is " in reason
    publish(store, to_topic(store, "one"), [line] * 2500)
    assert 2500 == len(everything(store)["one", 0])


def test_keys_that_are_stored_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "BYTES_MAX", 1 << 20)
    options = replace(OPTIONS, key_delimiter=b":")
    lines = [b"key-%d:1" % number for number in range(20_000)]
    assert "takes more than 1 MiB" in refusal(store, to_topic(store, "one", options), lines)
    publish(store, to_topic(store, "one", options), lines[:5000])


def test_each_line_goes_to_the_topic_that_it_names(store: Store) -> None:
    names = [b"one", b"four", b"one", b"one", b"four"]
    lines = [b'{"to":"%s","id":%d}' % (name, number) for number, name in enumerate(names * 3000)]
    before = records_in_journal(store)
    receipts: list[Receipt] = []
    done = publish(store, to_many(store, replace(OPTIONS, key_field="id")), [b"", *lines], receipts=receipts)
    assert before + 1 == records_in_journal(store)
    assert (15_000, 1) == (done.records, done.blank_lines)
    assert {("one", 0), *(("four", number) for number in range(4))} == {
        (one.topic, one.partition) for one in receipts
    }
    expected: dict[tuple[str, int], list[bytes]] = {}
    for number, line in enumerate(lines):
        is_one = names[number % 5] == b"one"
        place = ("one", 0) if is_one else ("four", partition_for(b"%d" % number, 4))
        expected.setdefault(place, []).append(line)
    assert expected == everything(store)


def test_a_topic_that_does_not_exist_is_named_with_its_line(store: Store) -> None:
    lines = [b'{"to":"one"}', b"", b'{"to":"four"}', b'{"to":"fuor"}', b'{"to":"no such topic"}']
    assert "line 4: topic 'fuor' not found; did you mean 'four'?" == refusal(store, to_many(store), lines)
    said = refusal(store, to_many(store), [*lines[:3], lines[4]])
    assert said.startswith("line 4: 'no such topic' cannot be a name: it holds ' '; use 1 to 249 of")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id":1}', "the record has no such field"),
        (b'{"to":7}', "it is a number"),
        (b'{"to":null}', "it is null"),
        (b'{"to":["one"]}', "it is an array"),
        (b'"one"', "the record is not an object"),
    ],
)
def test_a_line_that_names_no_topic_is_refused(store: Store, line: bytes, reason: str) -> None:
    assert (
        f"line 3: no topic in field 'to': {reason}; a topic's name is a string at the top level of the line"
        == refusal(store, to_many(store), [b'{"to":"one"}', b"", line])
    )


def test_what_a_topic_refuses_is_named_with_the_line_of_the_input(store: Store) -> None:
    good = [b'{"to":"one","id":1}', b"", b'{"to":"four","id":2}'] * 40_000
    bad = [b'{"to":"one","id":1}', b'{"to":"four"}', b'{"to":"one"}']
    gathering = to_many(store, replace(OPTIONS, key_field="id"))
    said = refusal(store, gathering, [*good, *bad, *good])
    assert said.startswith("line 120002: no key in field 'id': the record has no such field; ")


def test_a_topic_is_named_in_envelopes_as_well(store: Store) -> None:
    lines = [b'{"topic":"one","key":"k","value":1}', b'{"topic":"four","value":2}']
    publish(store, to_many(store, replace(OPTIONS, envelope=True), field="topic"), lines)
    assert [[b"1"], [b"2"]] == sorted(everything(store).values())
    assert [b'"k"'] == [message.key for message in store.read("one")]


def test_a_message_larger_than_its_topic_allows_is_refused(store: Store) -> None:
    store.create_topic("small", TopicSettings(max_message_bytes=100))

    def intake_of(name: str) -> Intake:
        topic = store.topic(name)
        return Intake(
            store, topic, replace(OPTIONS, max_record_bytes=topic.settings.max_message_bytes or 1000)
        )

    lines = [b'{"to":"%s","fill":"%s"}' % (name, b"x" * 200) for name in (b"one", b"small")]
    many = ManyTopics("to", intake_of, line_bytes_max=1000)
    assert refusal(store, many, lines).startswith(
        "line 2: the record has 224 bytes, and max_message_size is 100"
    )
    many = ManyTopics("to", intake_of, line_bytes_max=1000)
    said = refusal(store, many, [lines[0], b'{"to":"one","fill":"%s"}' % (b"x" * 3_000_000)])
    assert said.startswith("line 2: ") and "max_message_size is 1000" in said


def test_a_pipe_that_comes_in_small_pieces_is_one_record(store: Store) -> None:
    reader, writer = os.pipe()
    before = records_in_journal(store)
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        for number in range(500):
            pipe.write(b"%d\n" % number)
    try:
        publish_atomic(store, to_topic(store, "one"), reader)
    finally:
        os.close(reader)
    assert before + 1 == records_in_journal(store)
    assert {("one", 0): [b"%d" % number for number in range(500)]} == everything(store)
