"""A failed sync of any file sets a mark for all processes: the store refuses writes until it was verified."""

from __future__ import annotations

import contextlib

import pytest

from tests.rules.rig import RefusedError, Rig, Worker

BULK = '"' + "b" * 100_000 + '"'
LARGE = '"' + "x" * 40_000 + '"'


def assert_refuses(worker: Worker) -> None:
    with pytest.raises(RefusedError, match="StoreFailedError") as caught:
        worker.do("publish", "t", "9")
    assert "run 'aegis store repair'" in caught.value.message


@pytest.mark.parametrize(
    ("promise", "command", "value"),
    [
        ("JOURNAL_COMMIT", "publish", "1"),
        ("BULK_DATA", "publish", BULK),
        ("BULK_META", "publish", BULK),
        ("SEGMENT_CREATE", "publish", BULK),
    ],
)
def test_a_failed_sync_of_an_append_stops_all_processes(
    rig: Rig, writer: Worker, promise: str, command: str, value: str
) -> None:
    writer.do("publish", "t", "0")
    failing = rig.worker(f"sync:{promise}=eio")
    with pytest.raises(RefusedError, match="SyncFailedError"):
        failing.do(command, "t", value, key="k")
    # The one that failed, one that was open, one that comes later, and the command line.
    assert_refuses(failing)
    assert_refuses(writer)
    assert_refuses(rig.worker())
    code, _, err = rig.run("publish", "t", "9")
    assert 9 == code
    assert "refuses writes since a sync failed" in err
    # What is there can be read all the same.
    assert "0" == rig.read("t")[0]
    assert (0, "0\n") == rig.run("consume", "t", "-n", "1")[:2]


@pytest.mark.parametrize(
    "promise",
    ["CHECKPOINT_FILE", "JOURNAL_SWITCH", "JOURNAL_CREATE"],
)
def test_a_failed_sync_of_a_switch_or_a_checkpoint_stops_all_processes(rig: Rig, promise: str) -> None:
    rig.journal_bytes = 256 * 1024
    writer = rig.worker()
    writer.do("create", "t")
    failing = rig.worker(f"sync:{promise}=eio")
    # What was acknowledged before stays so: the publish that ends in a failed checkpoint may succeed itself.
    with contextlib.suppress(RefusedError):
        failing.do("publish", "t", LARGE, times=20)
    assert_refuses(writer)
    assert_refuses(rig.worker())


def test_the_message_of_a_failed_sync_says_that_it_is_in_doubt(rig: Rig, writer: Worker) -> None:
    code, _, err = rig.run("publish", "t", "1", points="sync:JOURNAL_COMMIT=eio")
    assert 10 == code
    assert "the last append is in doubt; run 'aegis store repair'" in err


def test_those_who_waited_for_the_sync_that_failed_are_not_acknowledged(rig: Rig, writer: Worker) -> None:
    gate = rig.gate()
    failing = rig.worker(f"journal.sync=wait:{gate.path};sync:JOURNAL_COMMIT=eio")
    failing.send("publish", "t", "0")
    gate.wait_reached()
    waiting = rig.worker("append.released=stop")
    waiting.stops_in("publish", "t", "1")
    gate.open()
    with pytest.raises(RefusedError, match="SyncFailedError"):
        failing.reply()
    waiting.go_on()
    with pytest.raises(RefusedError, match="SyncFailedError"):
        waiting.reply()
    assert [] == rig.read("t")


def test_the_mark_outlives_a_reboot(rig: Rig, writer: Worker) -> None:
    with pytest.raises(RefusedError, match="SyncFailedError"):
        rig.worker("sync:JOURNAL_COMMIT=eio").do("publish", "t", "0")
    copy = rig.copy()
    assert_refuses(rig.worker(store=copy))
