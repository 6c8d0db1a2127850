"""What `aegis publish` gives a record beside its value: key, headers, timestamp, partition."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.processes import running
from tests.cli.published import make, stored, values


def test_key_headers_and_timestamp_go_to_every_record(aegis: Any, topic: str) -> None:
    options = ["-k", 'a"b', "-H", "x=1", "-H", "x:2=3", "-H", "y=", "--timestamp", "2024-05-01T10:00:00Z"]
    assert 0 == aegis("publish", topic, "1", "2", *options).code
    headers = [{"key": "x", "value": "1"}, {"key": "x", "value": "2=3"}, {"key": "y", "value": ""}]
    expected = [('a"b', headers, 1_714_557_600_000)] * 2
    assert expected == [(record["key"], record["headers"], record["timestamp"]) for record in stored(aegis)]


def test_a_field_is_the_key_and_decides_the_partition(aegis: Any) -> None:
    make(aegis, "t", partitions=4)
    lines = b"".join(b'{"id":"k%d","n":%d}\n' % (n % 10, n) for n in range(100))
    assert 0 == aegis("publish", "t", "--key-field", "id", stdin=lines).code
    records = stored(aegis)
    assert {f"k{n}" for n in range(10)} == {record["key"] for record in records}
    places: dict[str, set[int]] = {}
    for record in records:
        places.setdefault(record["key"], set()).add(record["partition"])
    assert all(len(found) == 1 for found in places.values())
    assert 1 < len(set().union(*places.values()))


def test_a_key_stands_before_its_value(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "-K", "\\t", stdin=b'a\t{"x":"\\t"}\n\t2\nb\t3\n').code
    assert 0 == aegis("publish", topic, "-K", "::", "c::[1]", "c::d::1", "--text").code
    assert [
        ("a", {"x": "\t"}),
        ("", 2),
        ("b", 3),
        ("c", "[1]"),
        ("c", "d::1"),
    ] == [(record["key"], record["value"]) for record in stored(aegis)]


def test_z_makes_null_of_an_empty_value(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "-Z", "-k", "a", "").code
    assert 0 == aegis("publish", topic, "-Z", "-K", ":", stdin=b"b:\nc:1\n").code
    assert 0 == aegis("publish", topic, "-Z", "-K", ":", "d:").code
    assert 0 == aegis("publish", topic, "-Z", stdin=b"\n5\n").code
    assert 0 == aegis("publish", topic, "-Z", "--binary", "-k", "e", stdin=b"").code
    assert 0 == aegis("publish", topic, "-Z", "--text", "-k", "f", "").code
    assert [
        ("a", None),
        ("b", None),
        ("c", 1),
        ("d", None),
        (None, None),
        (None, 5),
        ("e", None),
        ("f", None),
    ] == [(record["key"], record["value"]) for record in stored(aegis)]


def test_a_field_is_the_timestamp(aegis: Any, topic: str) -> None:
    lines = (
        b'{"ts":1700000000}\n{"ts":1700000000123}\n{"ts":1700000000.5}\n{"ts":"2024-05-01T10:00:00+02:00"}\n'
        b'{"cr":\r1,"ts":0}\n'
    )
    assert 0 == aegis("publish", topic, "--timestamp-field", "ts", stdin=lines).code
    assert [1_700_000_000_000, 1_700_000_000_123, 1_700_000_000_500, 1_714_550_400_000, 0] == [
        record["timestamp"] for record in stored(aegis)
    ]


@pytest.mark.parametrize(
    "text", ['"now"', '"1h ago"', '"10:30"', "-1", "1e300", "1700000000000000", "true", "{}", "null", '"x"']
)
def test_what_is_no_time_is_refused_with_its_line(aegis: Any, topic: str, text: str) -> None:
    lines = b'{"ts":1}\n\n{"ts":%s}\n{"ts":2}\n' % text.encode()
    finished = aegis("publish", topic, "--timestamp-field", "ts", stdin=lines)
    assert 10 == finished.code
    assert (
        "aegis: error: line 3: field 'ts' is no time; it must be ISO 8601 text, or seconds or milliseconds "
        "since 1970 (1 record before it published)\n" == finished.err
    )
    assert [{"ts": 1}] == values(aegis)


def test_a_partition_can_be_named(aegis: Any) -> None:
    make(aegis, "t", partitions=3)
    assert 0 == aegis("publish", "t", "-p", "2", "-k", "a", stdin=b"1\n2\n").code
    assert [(2, 0, "a"), (2, 1, "a")] == [
        (record["partition"], record["offset"], record["key"]) for record in stored(aegis)
    ]
    for number in ("3", "-1"):
        finished = aegis("publish", "t", "-p", number)
        assert 3 == finished.code
        assert f"topic 't' has no partition {number}; it has 3, numbered from 0" in finished.err


def test_records_without_a_key_go_round_the_partitions(aegis: Any) -> None:
    make(aegis, "t", partitions=4)
    with running(aegis, "publish", "t", "--receipts", "--linger", "0") as process:
        for number in range(4):
            process.feed(b"%d\n" % number)
            process.read_until(lambda here, wanted=number + 1: here.stdout.count(b"\n") == wanted)
        process.end_input()
        assert 0 == process.wait()
    assert {0, 1, 2, 3} == {record["partition"] for record in stored(aegis)}
