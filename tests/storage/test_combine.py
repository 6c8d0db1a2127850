"""Small appends of many threads become few, and each gets its own receipt or its own error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import files
from storage.batch import Receipt, RecordBatch
from storage.combine import Combiner
from storage.errors import LockTimeoutError, SyncFailedError, TopicNotFoundError
from storage.failpoints import Failpoints
from storage.posting import Posting
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.cli.processes import DEADLINE_SECONDS, wait_for
from tests.storage.small_batches import lines

THREADS = 12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True, lock_wait_seconds=5.0) as opened:
        opened.create_topic("t")
        yield opened


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda points: monkeypatch.setattr(files, "observer", Failpoints.from_environment(points))


def together(work: Callable[[int], object], count: int = THREADS) -> list[object]:
    """What each of `count` threads returned or raised."""
    results: list[object] = [None] * count
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait(timeout=10)
        try:
            results[number] = work(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    return results


def batch_count(store: Store, topic: str = "t") -> int:
    return sum(1 for _ in store.batches(topic, 0))


@contextmanager
def led_by_nobody(store: Store, topic: str = "t", count: int = THREADS) -> Iterator[None]:
    """Within it, whoever appends finds another leading, until so many of them wait."""
    combiner = store._company.combiner(store._log(topic, 0))
    assert combiner._turns.try_lead()

    def hand_on() -> None:
        wait_for(lambda: len(combiner._turns.waiting) == count)
        combiner._turns.pass_on()

    thread = threading.Thread(target=hand_on)
    thread.start()
    yield
    thread.join(timeout=DEADLINE_SECONDS)
    assert not thread.is_alive()


def test_threads_append_together_and_each_knows_where_its_messages_are(store: Store) -> None:
    def work(number: int) -> list[tuple[str, Receipt]]:
        done = []
        for turn in range(40):
            values = [f'"{number}-{turn}-{part}"' for part in range(1 + turn % 3)]
            batch = lines(*values, key=b'"k"' if turn % 2 else None)
            done.append((values, store.append([Append(topic="t", partition=0, batches=[batch])])[0]))
        return done  # type: ignore[return-value]

    with led_by_nobody(store):
        results = together(work)
    messages = list(store.read("t"))
    stored = [message.value.decode() for message in messages]
    told: set[int] = set()
    for result in results:
        assert isinstance(result, list)
        bases = [receipt.base_offset for _, receipt in result]
        assert bases == sorted(bases)
        for values, receipt in result:
            assert values == stored[receipt.base_offset : receipt.last_offset + 1]
            assert receipt.append_time_ms == messages[receipt.base_offset].timestamp_ms
            told |= set(range(receipt.base_offset, receipt.last_offset + 1))
    assert set(range(len(stored))) == told
    # The first messages of all threads, which waited side by side, are one batch.
    assert THREADS == next(iter(store.batches("t", 0))).count
    assert batch_count(store) <= THREADS * 39 + 1


def test_keys_and_times_stay_with_their_message_in_company(store: Store) -> None:
    def work(number: int) -> list[Receipt]:
        return [
            store.publish(
                "t",
                turn,
                key=f"{number}-{turn}" if turn % 2 else None,
                headers={"turn": str(turn)} if turn % 3 else None,
                timestamp_ms=turn + 1 if turn % 5 else None,
            )
            for turn in range(30)
        ]

    results = together(work)
    messages = list(store.read("t"))
    for number, receipts in enumerate(results):
        assert isinstance(receipts, list)
        for turn, receipt in enumerate(receipts):
            message = messages[receipt.base_offset]
            assert (b"%d" % turn, receipt.base_offset) == (message.value, message.offset)
            assert (f'"{number}-{turn}"'.encode() if turn % 2 else None) == message.key
            header = f'[{{"key":"turn","value":"{turn}"}}]'.encode()
            assert (header if turn % 3 else None) == message.headers
            assert (turn + 1 if turn % 5 else receipt.append_time_ms) == message.timestamp_ms


def test_what_cannot_be_encoded_is_refused_to_its_own_thread_only(store: Store) -> None:
    def work(number: int) -> object:
        batch = lines(f'"{number}"', key=b'"a\nb"' if number % 2 else b'"a"')
        return store.append([Append(topic="t", partition=0, batches=[batch])])[0]

    results = together(work)
    assert {ValueError} == {type(result) for result in results[1::2]}
    assert {Receipt} == {type(result) for result in results[::2]}
    assert THREADS // 2 == len(list(store.read("t")))


def test_a_failed_sync_reaches_every_thread_of_the_group(
    store: Store, failing: Callable[[str], None]
) -> None:
    failing("sync:JOURNAL_COMMIT=eio")
    results = together(lambda number: store.publish("t", number))
    # Those that came after it are refused.
    assert {"SyncFailedError"} <= {type(result).__name__ for result in results}
    assert {"SyncFailedError", "StoreFailedError"} >= {type(result).__name__ for result in results}
    assert any(isinstance(result, SyncFailedError) for result in results)


def test_threads_that_find_no_lock_give_up_in_time(tmp_path: Path) -> None:
    with (
        Store(tmp_path / "store", create=True, lock_wait_seconds=0.3) as store,
        Store(tmp_path / "store") as other,
    ):
        store.create_topic("t")
        holder = other._log("t", 0).lock
        holder.acquire(timeout_seconds=1.0)
        results = together(lambda number: store.publish("t", number))
        assert {LockTimeoutError} == {type(result) for result in results}
        assert all("waited 0.3 s" in str(result) for result in results)
        holder.release()
        assert 0 == store.publish("t", 1).base_offset


def test_threads_whose_topic_is_altered_or_deleted_each_find_out(store: Store) -> None:
    store.publish("t", 0)
    with Store(store.path) as other:
        other.alter_topic("t", TopicSettings(retention_bytes=1 << 30))
        assert {Receipt} == {type(result) for result in together(lambda number: store.publish("t", number))}
        other.delete_topic("t")
        results = together(lambda number: store.publish("t", number))
    assert {TopicNotFoundError} == {type(result) for result in results}


def test_topics_that_do_not_wait_for_the_disk_are_combined_too(store: Store) -> None:
    store.create_topic("o", TopicSettings(durability="os"))
    store._company.combiner(store._log("o", 0))._post_from_now_on()
    with led_by_nobody(store, "o"):
        results = together(lambda number: [store.publish("o", number) for _ in range(20)])
    assert all(isinstance(result, list) for result in results)
    assert THREADS * 20 == len(list(store.read("o")))
    assert THREADS == next(iter(store.batches("o", 0))).count


def test_a_thread_that_is_interrupted_while_it_waits_hands_on_what_it_was_given(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    combiner = store._company.combiner(store._log("t", 0))
    assert combiner._turns.try_lead()
    interrupted = threading.Event()

    class Interrupted:
        """The lock on which a turn waits, at the first wait of which Ctrl-C arrives."""

        def __init__(self) -> None:
            self._lock = real()

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            if timeout >= 0 and not interrupted.is_set():
                interrupted.set()
                combiner._turns.pass_on()  # to this very turn
                raise KeyboardInterrupt
            return self._lock.acquire(blocking, timeout)

        def release(self) -> None:
            self._lock.release()

    real = threading.Lock
    monkeypatch.setattr("storage.turns.threading.Lock", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.publish("t", 0)
    monkeypatch.undo()
    assert interrupted.is_set()
    # Nobody leads now, so the next one can.
    assert 0 == store.publish("t", 1).base_offset


def test_one_thread_alone_never_waits_and_makes_no_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Combiner, "_in_turn", None)
    for number in range(50):
        store.publish("t", number)
    assert [] == list(Path(store.path).rglob("posts"))


def test_stores_that_see_a_crowd_begin_to_post_and_stop_when_they_are_alone(store: Store) -> None:
    others = [Store(store.path) for _ in range(7)]
    try:
        for number in range(8):
            for one in (store, *others):
                one.publish("t", number)
        combiner = store._company.combiner(store._log("t", 0))
        assert combiner._posting is not None and combiner._posting.is_due
        for number in range(100):
            store.publish("t", number)
        assert not combiner._posting.is_due
    finally:
        for one in others:
            one.close()
    assert 8 * 8 + 100 == len(list(store.read("t")))


def test_who_leads_processes_knows_whether_threads_wait_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("t", 0)
    combiner = store._company.combiner(store._log("t", 0))
    combiner._post_from_now_on()
    seen: list[bool] = []
    append = Posting.append

    def watched(self: Posting, batch: RecordBatch, deadline: float) -> Receipt | None:
        seen.append(self._turns.are_awaited)
        return append(self, batch, deadline)

    monkeypatch.setattr(Posting, "append", watched)
    store.publish("t", 1)
    assert [False] == seen
    with led_by_nobody(store):
        together(lambda number: store.publish("t", number))
    # They were gathered, and none is left to wait for its turn.
    assert [False, True] == seen
    store.publish("t", 2)
    assert [False, True, False] == seen
