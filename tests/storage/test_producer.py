"""A producer: what it published is published once, wherever it is stopped and however its input is read."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import Store, TopicSettings, producer, state_log
from storage.errors import InvalidRecordError, SettingError
from storage.intake import IntakeOptions
from storage.keys import partition_for
from storage.producer import Producer
from storage.producer_errors import InputChangedError, ProducerFencedError, ProducerInUseError
from storage.producer_input import LINES_A_TURN, end_of_lines, publish_resumable
from storage.publish import Published
from storage.verify import verify

OPTIONS = IntakeOptions(max_record_bytes=1000)
BLANK = b""


def numbers(first: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, end)]


def joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as opened:
        opened.create_topic("t", TopicSettings(partitions=3))
        yield opened


def publish(
    store: Store, data: bytes, options: IntakeOptions = OPTIONS, *, topic: str = "t", name: str = "p"
) -> Published:
    """One run from a file, from the start of the input."""
    with tempfile.TemporaryFile() as file, Producer(store, name) as run:
        file.write(data)
        file.seek(0)
        return publish_resumable(store, run, store.topic(topic), options, file.fileno())


def publish_in_pieces(store: Store, pieces: Sequence[bytes]) -> Published:
    """One run from a pipe into which each piece is written once the last one was published."""
    reader, writer = os.pipe()
    more = threading.Semaphore(0)

    def write() -> None:
        try:
            for piece in pieces:
                os.write(writer, piece)
                more.acquire(timeout=0.5)
        finally:
            os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with Producer(store, "p") as run:
            return publish_resumable(
                store,
                run,
                store.topic("t"),
                OPTIONS,
                reader,
                linger_ms=1,
                on_receipts=lambda receipts: more.release(),
            )
    finally:
        os.close(reader)
        for _ in pieces:
            more.release()
        thread.join()


def values(store: Store, topic: str = "t") -> list[list[bytes]]:
    """The values of each partition, in order."""
    count = store.topic(topic).partitions
    return [
        [message.value for message in store.read(topic, partition=partition)] for partition in range(count)
    ]


def placed(lines: Sequence[bytes], partitions: int = 3) -> list[list[bytes]]:
    """Where lines without keys belong."""
    places: list[list[bytes]] = [[] for _ in range(partitions)]
    for number, line in enumerate(lines):
        if line.strip():
            places[number // LINES_A_TURN % partitions].append(line)
    return places


def test_the_same_input_again_publishes_nothing(store: Store) -> None:
    data = joined(numbers(0, 5000))
    first, again = publish(store, data), publish(store, data)
    assert (5000, 0) == (first.records, first.lines_before)
    assert (0, 5000) == (again.records, again.lines_before)
    assert placed(numbers(0, 5000)) == values(store)
    assert [] == list(verify(store.path))


def test_an_input_that_has_grown_is_continued(store: Store) -> None:
    lines = [*numbers(0, 1500), BLANK, BLANK, *numbers(1500, 4321), BLANK]
    for end in (1, 999, 1000, 1501, 1502, 3000, len(lines)):
        publish(store, joined(lines[:end]))
        assert placed(lines[:end]) == values(store)


def test_where_a_line_goes_does_not_depend_on_how_it_is_read(store: Store) -> None:
    lines = [*numbers(0, 700), BLANK, *numbers(700, 3300)]
    data = joined(lines)
    cuts = [0, 1, 2, 700, 3000, 7777, len(data)]
    publish_in_pieces(store, [data[start:end] for start, end in pairwise(cuts)])
    assert placed(lines) == values(store)
    assert 0 == publish(store, data).records


def test_a_pipe_is_skipped_as_a_file_is(store: Store) -> None:
    lines = numbers(0, 2500)
    publish(store, joined(lines[:1234]))
    done = publish_in_pieces(store, [joined(lines[:500]), joined(lines[500:2000]), joined(lines[2000:])])
    assert (1266, 1234) == (done.records, done.lines_before)
    assert placed(lines) == values(store)


def test_messages_with_a_key_go_where_their_key_says(store: Store) -> None:
    lines = [b'{"id":%d}' % number for number in range(4000)]
    options = replace(OPTIONS, key_field="id")
    publish(store, joined(lines[:1700]), options)
    publish(store, joined(lines), options)
    expected: list[list[bytes]] = [[], [], []]
    for number, line in enumerate(lines):
        expected[partition_for(b"%d" % number, 3)].append(line)
    assert expected == values(store)


def test_envelopes_without_a_key_take_turns_by_line(store: Store) -> None:
    lines = [
        msgspec.json.encode({"key": None if number % 2 else f"k{number}", "value": number})
        for number in range(2600)
    ]
    options = replace(OPTIONS, envelope=True)
    publish(store, joined(lines[:1100]), options)
    publish(store, joined(lines), options)
    expected: list[list[bytes]] = [[], [], []]
    for number in range(2600):
        own = number // LINES_A_TURN % 3 if number % 2 else partition_for(b'"k%d"' % number, 3)
        expected[own].append(b"%d" % number)
    assert expected == values(store)


def test_a_partition_may_be_given(store: Store) -> None:
    publish(store, joined(numbers(0, 10)), replace(OPTIONS, partition=2))
    publish(store, joined(numbers(0, 2000)), replace(OPTIONS, partition=2))
    assert [[], [], numbers(0, 2000)] == values(store)


def test_partitions_that_were_added_change_nothing_that_is_published(store: Store) -> None:
    publish(store, joined(numbers(0, 3500)))
    store.alter_topic("t", TopicSettings(partitions=5))
    publish(store, joined(numbers(0, 9000)))
    assert sorted(numbers(0, 9000)) == sorted(line for lines in values(store) for line in lines)
    assert all(lines == sorted(lines, key=int) for lines in values(store))


def test_another_input_is_refused_and_nothing_is_stored(store: Store) -> None:
    publish(store, joined(numbers(0, 20)))
    with pytest.raises(InputChangedError, match="does not begin with the 20 lines that producer 'p'"):
        publish(store, joined(numbers(1, 30)))
    with pytest.raises(InputChangedError, match="has 19 lines, but producer 'p' has published 20 lines"):
        publish(store, joined(numbers(0, 19)))
    assert placed(numbers(0, 20)) == values(store)


def test_what_comes_before_a_bad_line_is_remembered_and_the_rest_follows(store: Store) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        publish(store, joined([*numbers(0, 1500), b"{bad", *numbers(1501, 1600)]))
    assert (1501, 1500) == (caught.value.line, caught.value.published)
    with pytest.raises(InvalidRecordError) as caught:
        publish(store, joined([*numbers(0, 1500), b"{worse", *numbers(1501, 1600)]))
    assert (1501, 0) == (caught.value.line, caught.value.published)
    publish(store, joined(numbers(0, 1600)))
    assert placed(numbers(0, 1600)) == values(store)


def test_a_last_line_without_an_end_waits_until_it_is_whole(store: Store) -> None:
    with pytest.raises(InvalidRecordError, match="line 3: it has no line end and may be cut"):
        publish(store, b"1\n2\n3")
    publish(store, b"1\n2\n34\n")
    assert [[b"1", b"2", b"34"], [], []] == values(store)


def test_lines_that_are_left_out_count(store: Store) -> None:
    options = replace(OPTIONS, on_error="skip")
    lines = [b"1", b"{bad", b"2", BLANK]
    first = publish(store, joined(lines), options)
    again = publish(store, joined([*lines, b"3"]), options)
    assert (2, 1, 1) == (first.records, first.refused_lines, first.blank_lines)
    assert (1, 0, 4) == (again.records, again.refused_lines, again.lines_before)
    assert [[b"1", b"2", b"3"], [], []] == values(store)


def test_a_line_too_long_to_be_kept_is_left_out_once(store: Store) -> None:
    options = replace(OPTIONS, on_error="skip")
    data = b"1\n" + b"x" * 3_000_000 + b"\n2\n"
    first = publish(store, data, options)
    again = publish(store, data + b"3\n", options)
    assert (2, 1) == (first.records, first.refused_lines)
    assert (1, 3) == (again.records, again.lines_before)
    assert [[b"1", b"2", b"3"], [], []] == values(store)


def test_each_topic_and_each_producer_counts_for_itself(store: Store) -> None:
    store.create_topic("u")
    publish(store, joined(numbers(0, 10)))
    publish(store, joined(numbers(0, 7)), topic="u")
    publish(store, joined(numbers(0, 3)), name="q")
    store.delete_topic("u")
    store.create_topic("u")
    assert 0 == publish(store, joined(numbers(0, 9)), topic="u").lines_before
    assert [numbers(0, 9)] == values(store, "u")
    assert 13 == sum(map(len, values(store)))


def test_a_producer_at_work_refuses_another_run_and_says_who_it_is(store: Store) -> None:
    with Producer(store, "p"), pytest.raises(ProducerInUseError, match=f"at work in process {os.getpid()}"):
        Producer(store, "p")
    Producer(store, "p").close()


def test_a_run_that_another_has_taken_over_from_publishes_nothing(store: Store) -> None:
    topic = store.topic("t")
    with Producer(store, "p") as old, tempfile.TemporaryFile() as file:
        Path(store.path, "producers", "p", "run.lock").unlink()
        with Producer(store, "p"):
            file.write(joined(numbers(0, 10)))
            file.seek(0)
            with pytest.raises(ProducerFencedError, match="another run of producer 'p' has taken over"):
                publish_resumable(store, old, topic, OPTIONS, file.fileno())
    assert [[], [], []] == values(store)


def test_a_producer_that_was_shortened_knows_what_it_published(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "_STEPS_BETWEEN_LOOKS", 2)
    monkeypatch.setattr(state_log, "_RECORDS_BETWEEN_SNAPSHOTS", 5)
    publish_in_pieces(store, [b"%d\n" % number for number in range(20)])
    log = Path(store.path, "producers", "p", "0", "0".zfill(20) + ".jsonl")
    in_one_run = log.read_bytes().count(b'"snapshot"')
    assert 0 < in_one_run
    for end in range(21, 40):
        publish(store, joined(numbers(0, end)))
    assert in_one_run < log.read_bytes().count(b'"snapshot"')
    assert placed(numbers(0, 39)) == values(store)
    assert 0 == publish(store, joined(numbers(0, 39))).records


def test_a_topic_of_more_partitions_than_a_record_can_hold_is_refused(quick_path: Path) -> None:
    with Store(quick_path / "store", create=True) as store:
        store.create_topic("wide", TopicSettings(partitions=1024))
        with pytest.raises(SettingError, match="at most 1023 partitions, and 'wide' has 1024"):
            publish(store, b"1\n", topic="wide")
        publish(store, b"1\n", replace(OPTIONS, partition=1023), topic="wide")
        assert [b"1"] == values(store, "wide")[1023]


@given(
    st.lists(st.integers(0, 300), max_size=300).map(
        lambda sizes: b"".join(b"x" * size + b"\n" for size in sizes)
    ),
    st.integers(0, 320),
    st.integers(0, 5000),
)
def test_the_end_of_so_many_lines_is_where_counting_finds_it(data: bytes, count: int, start: int) -> None:
    start = min(start, len(data))
    position: int | None = start
    for _ in range(count):
        found = data.find(b"\n", position)
        position = found + 1 if found >= 0 else None
        if position is None:
            break
    assert position == end_of_lines(data, start, count)
