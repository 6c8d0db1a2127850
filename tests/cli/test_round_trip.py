"""`aegis consume --json | aegis publish --envelope` loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.batch import RecordBatch
from storage.envelope import encode_batch
from storage.intake import Intake, IntakeOptions
from storage.publish import publish_stream
from storage.reader import Gap
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.storage.sample_batches import HEADERS, KEYS, TIMES_MS, VALUES

STRANGE_VALUES = [
    b"null",
    b"1e400",
    b"-1E-400",
    b"12345678901234567890",
    b"0.1000",
    b'"\\u0000"',
    b'"\\ud83d\\ude00"',
    b'{"a":1,"a":2,"b":[]}',
    b'{"$base64":"AAECAw=="}',
    b'{ "spaced" :\t[ 1 , 2 ] }',
    b'{"cr":\r1}',
    '{"käse":"€𝄞"}'.encode(),
    b'"}\\n{"',
    b'""',
    b"[[[[]]]]",
]
STRANGE_KEYS = [b'"abc"', b"7", b"1e400", b'"a\\u0062c"', b'{"$base64":"AP8="}', b'""', b'"\\u0000"', b"null"]
STRANGE_HEADERS = [
    b'[{"key":"a","value":"b"},{"key":"a","value":"b"},{"key":"a","value":"c"}]',
    b'[{"key":"n","value":null},{"key":"bin","value":{"$base64":"AP8="}}]',
    b"null",
]


def fill(store: Store, topic: str, *, partitions: int) -> None:
    """Publish every strange value with every strange key, and more, to all partitions."""
    values = [value for value in STRANGE_VALUES for _ in STRANGE_KEYS]
    count = len(values)
    batch = RecordBatch(
        lines=b"\n".join([*values, b""]),
        count=count,
        keys=[STRANGE_KEYS[index % len(STRANGE_KEYS)] for index in range(count)],
        headers=[STRANGE_HEADERS[index % len(STRANGE_HEADERS)] for index in range(count)],
        timestamps_ms=[-1 if index % 3 else 1_700_000_000_000 - index for index in range(count)],
    )
    intake = Intake(store, store.topic(topic), IntakeOptions(max_record_bytes=1000))
    store.append(intake.appends([batch]))
    plain = RecordBatch(lines=b"1\n2\n", count=2)
    store.append([Append(topic=topic, partition=number, batches=[plain]) for number in range(partitions)])


def lines_of(text: bytes) -> list[bytes]:
    """The lines of `text`; unlike `splitlines` this leaves a carriage return within a line alone."""
    return text.split(b"\n")[:-1]


def without_place(line: bytes) -> bytes:
    """An envelope's line behind topic, partition and offset."""
    return line[line.index(b',"timestamp":') :]


def pipe(aegis: Any, source: str, target: str, *more: str) -> None:
    """Run the pipe of the promise, in a shell."""
    line = f"aegis consume {source} --json | aegis publish {target} --envelope {' '.join(more)}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], env=aegis.environ, capture_output=True, check=False
    )
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


def test_the_pipe_from_consume_to_publish_loses_nothing(aegis: Any) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic("t")
        fill(store, "t", partitions=1)
        store.create_topic("u")
    pipe(aegis, "t", "u")
    before, after = aegis("consume", "t", "--json"), aegis("consume", "u", "--json")
    assert (0, 0, b"", b"") == (before.code, after.code, before.stderr, after.stderr)
    assert before.stdout.replace(b'{"topic":"t"', b'{"topic":"u"') == after.stdout
    assert len(STRANGE_VALUES) * len(STRANGE_KEYS) + 2 == after.stdout.count(b"\n")
    # And the files that others read are the same bytes.
    paths = [aegis("topic", "files", name).out.strip() for name in ("t", "u")]
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()


def test_the_pipe_keeps_the_order_of_each_key_over_partitions(aegis: Any) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic("t", TopicSettings(partitions=3))
        fill(store, "t", partitions=3)
        for name, partitions in (("same", 3), ("fewer", 1), ("more", 7)):
            store.create_topic(name, TopicSettings(partitions=partitions))
    before = lines_of(aegis("consume", "t", "--json").stdout)
    for name in ("same", "fewer", "more"):
        pipe(aegis, "t", name)
        after = lines_of(aegis("consume", name, "--json").stdout)
        assert sorted(map(without_place, before)) == sorted(map(without_place, after))
        assert by_key(before) == by_key(after), name
    keyed = [line for line in before if b'"key":null' not in line]
    same = lines_of(aegis("consume", "same", "--json").stdout)
    same = [line for line in same if b'"key":null' not in line]
    partition_and_rest = [(json.loads(line)["partition"], without_place(line)) for line in keyed]
    assert partition_and_rest == [(json.loads(line)["partition"], without_place(line)) for line in same]


def by_key(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for line in lines:
        rest = without_place(line)
        key = rest[rest.index(b'"key":') : rest.index(b',"headers":')]
        if key != b'"key":null':
            found.setdefault(key, []).append(rest)
    return found


def test_a_topic_with_a_declared_key_takes_envelopes_and_places_them_by_it(aegis: Any) -> None:
    aegis("topic", "create", "t", "--key", "id", "--partitions", "4")
    aegis("topic", "create", "u", "--key", "id", "--partitions", "4")
    lines = b"".join(b'{"id":"k%d","n":%d}\n' % (number % 20, number) for number in range(200))
    assert 0 == aegis("publish", "t", stdin=lines).code
    pipe(aegis, "t", "u")
    before, after = (aegis("consume", name, "--json").stdout for name in ("t", "u"))
    assert before.replace(b'{"topic":"t"', b'{"topic":"u"') == after
    # A key that is a field of the message is stored once.
    metadata = b"".join(path.read_bytes() for path in (aegis.store / "topics/u").glob("*/*.meta"))
    assert b'"k7"' not in metadata
    # An envelope without a key goes where its field says.
    assert 0 == aegis("publish", "u", "--envelope", stdin=b'{"value":{"id":"k7","n":-1}}\n').code
    places = [json.loads(line) for line in aegis("consume", "u", "--json", "--key", "k7").lines]
    assert 1 == len({place["partition"] for place in places})
    assert -1 == places[-1]["value"]["n"]


def test_what_kcat_prints_is_taken_as_well(aegis: Any) -> None:
    aegis("topic", "create", "t")
    line = (
        b'{"topic":"x","partition":0,"offset":3,"tstype":"create","ts":1700000000000,"broker":0,'
        b'"headers":["a","1","a","2"],"key":"k","payload":"{\\"id\\": 7}"}\n'
    )
    assert 0 == aegis("publish", "t", "--envelope", stdin=line).code
    expected = (
        b'{"topic":"t","partition":0,"offset":0,"timestamp":1700000000000,"key":"k",'
        b'"headers":[{"key":"a","value":"1"},{"key":"a","value":"2"}],"value":{"id": 7}}\n'
    )
    assert expected == aegis("consume", "t", "--json").stdout


@st.composite
def records(draw: st.DrawFn) -> RecordBatch:
    """A batch with or without each of its columns."""
    values = draw(st.lists(VALUES, min_size=1, max_size=8))
    count = len(values)

    def column(items: st.SearchStrategy[Any], none: object) -> Any:
        if draw(st.booleans()):
            return None
        drawn = draw(st.lists(items, min_size=count, max_size=count))
        return [none if item is None else item for item in drawn]

    return RecordBatch(
        lines=b"\n".join([*values, b""]),
        count=count,
        keys=column(KEYS, b"null"),
        headers=column(HEADERS, b"null"),
        timestamps_ms=column(st.one_of(st.none(), TIMES_MS), -1),
    )


def envelopes(store: Store, topic: str) -> bytes:
    found = b""
    for number in range(store.topic(topic).partitions):
        for batch in store.batches(topic, number):
            assert not isinstance(batch, Gap)
            found += encode_batch(batch)
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=st.lists(records(), min_size=1, max_size=4), partitions=st.integers(1, 3))
def test_records_of_every_kind_come_back_through_envelopes(
    batches: list[RecordBatch], partitions: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, Store(f"{directory}/store", create=True) as store:
        for name in ("t", "u"):
            store.create_topic(name, TopicSettings(partitions=partitions))
        intake = Intake(store, store.topic("t"), IntakeOptions(max_record_bytes=1_000_000))
        store.append(intake.appends(batches))
        printed = envelopes(store, "t")
        again = Intake(store, store.topic("u"), IntakeOptions(max_record_bytes=1_000_000, envelope=True))
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(printed)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            done = publish_stream(store, again, file.fileno())
        assert sum(batch.count for batch in batches) == done.records
        returned = envelopes(store, "u")
        if partitions == 1:
            assert printed.replace(b'{"topic":"t"', b'{"topic":"u"') == returned
        assert sorted(map(without_place, lines_of(printed))) == sorted(map(without_place, lines_of(returned)))
        assert by_key(lines_of(printed)) == by_key(lines_of(returned))
