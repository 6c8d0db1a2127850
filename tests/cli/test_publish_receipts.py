"""What `aegis publish` says on standard output: receipts, and a summary."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.cli.processes import running, wait_for
from tests.cli.published import stored, values


def test_receipts_name_partition_and_offsets(aegis: Any, topic: str) -> None:
    finished = aegis("publish", topic, "--receipts", stdin=b"1\n2\n3\n")
    (receipt,) = [json.loads(line) for line in finished.lines]
    assert receipt.pop("append_time_ms") == stored(aegis)[0]["timestamp"]
    assert {"topic": "t", "partition": 0, "base_offset": 0, "last_offset": 2} == receipt


def test_a_receipt_comes_when_its_record_can_be_read(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, "--receipts") as process:
        process.feed(b"1\n")
        process.read_until(lambda here: b"\n" in here.stdout)
        assert [1] == values(aegis)


def test_a_reader_of_receipts_that_leaves_does_not_stop_the_publishing(aegis: Any, topic: str) -> None:
    ours, theirs = os.pipe()
    with running(aegis, "publish", topic, "--receipts", stdout=theirs) as process:
        os.close(theirs)
        process.feed(b"1\n")
        assert os.read(ours, 1000)
        os.close(ours)
        for number in (2, 3):
            process.feed(b"%d\n" % number)
            wait_for(lambda wanted=number: len(values(aegis)) == wanted)
        process.end_input()
        assert 0 == process.wait()
    assert (b"", [1, 2, 3]) == (process.stderr, values(aegis))


def test_json_prints_a_summary(aegis: Any, topic: str) -> None:
    finished = aegis("publish", topic, "--json", stdin=b"1\n\n2\n")
    expected = {"topic": "t", "records": 2, "blank_lines": 1, "refused_lines": 0}
    assert expected == json.loads(finished.out)
