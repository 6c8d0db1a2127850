"""Publishing a stream: what is stored where, whichever way the records are sorted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from storage import Store, TopicSettings
from storage.batch import Receipt
from storage.errors import InvalidRecordError
from storage.intake import Intake, IntakeOptions
from storage.publish import Published, publish_stream

OPTIONS = IntakeOptions(max_record_bytes=1_000_000, key_field="id")
# More than one block and more than one step, with blank lines and other line ends among them.
LINES = [
    *(b'{"id":"key-%d","note":"%s"}' % (number % 700, b"x" * 150) for number in range(60_000)),
    b"",
    *(b'{"id":%d}' % number for number in range(3000)),
    b'{"id":"a\\"b"}\r',
    '{"id":"é"}'.encode(),
]


def _publish(
    path: Path,
    lines: list[bytes],
    options: IntakeOptions,
    *,
    declared: str | None = None,
    on_receipts: Callable[[list[Receipt]], None] | None = None,
) -> tuple[Published, list[list[tuple[bytes, bytes | None]]]]:
    """What was published, and the values and keys of each partition."""
    path.mkdir()
    given = path / "input"
    given.write_bytes(b"\n".join([*lines, b""]))
    with Store(path / "s", create=True) as store, given.open("rb") as file:
        topic = store.create_topic("t", TopicSettings(partitions=4, key=declared))
        intake = Intake(store, topic, options)
        done = publish_stream(store, intake, file.fileno(), on_receipts=on_receipts)
        found = [[(message.value, message.key) for message in store.read("t", partition=p)] for p in range(4)]
    return done, found


def _expected(lines: list[bytes]) -> list[list[tuple[bytes, bytes]]]:
    places: list[list[tuple[bytes, bytes]]] = [[], [], [], []]
    for line in lines:
        if line:
            value = line.removesuffix(b"\r")
            key = value[6:].split(b',"note"')[0].removesuffix(b"}")
            hashed = key.strip(b'"').replace(b"\\", b"")
            places[crc32(hashed) % 4].append((value, key))
    return places


@pytest.mark.parametrize("declared", [None, "id"])
def test_records_are_sorted_by_key_alike_while_they_are_checked_and_when_they_are_appended(
    tmp_path: Path, declared: str | None
) -> None:
    done, early = _publish(tmp_path / "early", LINES, OPTIONS, declared=declared)
    # Headers are among what the way of a pure stream of keys does not know.
    headers = b'[{"key":"h","value":"v"}]'
    _, late = _publish(tmp_path / "late", LINES, replace(OPTIONS, headers=headers), declared=declared)
    assert _expected(LINES) == early
    assert early == late
    assert (63_002, 1, 0) == (done.records, done.blank_lines, done.refused_lines)


def test_refused_lines_among_sorted_ones_are_named_and_the_others_stored(tmp_path: Path) -> None:
    lines = [*LINES[:30_000], b'{"id":null}', *LINES[:30_000], b'{"id":1', b"[]", b'{"id":1}']
    with pytest.raises(InvalidRecordError) as caught:
        _publish(tmp_path / "stop", lines, OPTIONS)
    assert (30_001, 30_000) == (caught.value.line, caught.value.published)
    done, found = _publish(tmp_path / "skip", lines, replace(OPTIONS, on_error="skip"))
    assert [30_001, 60_002, 60_003] == [refusal.line for refusal in done.refusals]
    assert _expected([*LINES[:30_000], *LINES[:30_000], b'{"id":1}']) == found


def test_threads_take_turns_sooner_while_bulk_is_published_and_only_then(tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    seen: list[float] = []

    def note(_: list[Receipt]) -> None:
        seen.append(sys.getswitchinterval())

    _publish(tmp_path / "small", LINES[:10], OPTIONS, on_receipts=note)
    assert [before] == seen
    _publish(tmp_path / "bulk", LINES, OPTIONS, on_receipts=note)
    assert seen[1] < before
    with pytest.raises(InvalidRecordError):
        _publish(tmp_path / "refused", [*LINES, b"x"], OPTIONS, on_receipts=note)
    assert before == sys.getswitchinterval()
