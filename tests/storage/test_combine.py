"""Small appends of many threads become few, and each gets its own receipt or its own error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import files
from storage.batch import Receipt, RecordBatch
from storage.combine import Combiner
from storage.errors import LockTimeoutError, SyncFailedError, TopicNotFoundError
from storage.failpoints import Failpoints
from storage.head import Tail
from storage.journal_record import Location
from storage.posts import News, Posts, Retracted, open_posts
from storage.posts_file import SLOTS, resolve_left
from storage.request import Request
from storage.store import Append, Store
from storage.topic import TopicSettings

SALT = 0x1234_5678_9ABC_DEF0
STAMP = (7, 9)
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


def lines(*values: str, key: bytes | None = None) -> RecordBatch:
    return RecordBatch(
        lines="".join(f"{value}\n" for value in values).encode(),
        count=len(values),
        keys=None if key is None else [key] * len(values),
    )


def batch_count(store: Store) -> int:
    return sum(1 for _ in store.batches("t", 0))


# -- threads --------------------------------------------------------------------------------------------


def test_threads_append_together_and_each_knows_where_its_messages_are(store: Store) -> None:
    def work(number: int) -> list[tuple[str, Receipt]]:
        done = []
        for turn in range(40):
            values = [f'"{number}-{turn}-{part}"' for part in range(1 + turn % 3)]
            batch = lines(*values, key=b'"k"' if turn % 2 else None)
            done.append((values, store.append([Append(topic="t", partition=0, batches=[batch])])[0]))
        return done  # type: ignore[return-value]

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
    assert batch_count(store) < THREADS * 40


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
    for log in (store._log("o", 0),):
        store._company.combiner(log)._post_from_now_on()
    results = together(lambda number: [store.publish("o", number) for _ in range(20)])
    assert all(isinstance(result, list) for result in results)
    assert THREADS * 20 == len(list(store.read("o")))


def test_a_thread_that_is_interrupted_while_it_waits_hands_on_what_it_was_given(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    combiner = store._company.combiner(store._log("t", 0))
    combiner._leading.acquire()
    interrupted = threading.Event()

    class Interrupted:
        """The lock on which a turn waits, at the first wait of which Ctrl-C arrives."""

        def __init__(self) -> None:
            self._lock = real()

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            if timeout >= 0 and not interrupted.is_set():
                interrupted.set()
                combiner._pass_on()  # to this very turn
                raise KeyboardInterrupt
            return self._lock.acquire(blocking, timeout)

        def release(self) -> None:
            self._lock.release()

    real = threading.Lock
    monkeypatch.setattr("storage.combine.threading.Lock", Interrupted)
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


# -- posts ----------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Posts, Posts]]:
    """The posts of two processes."""
    made = [open_posts(str(tmp_path), salt=SALT) for _ in range(2)]
    assert made[0] is not None and made[1] is not None
    yield made[0], made[1]
    for posts in made:
        posts.close()  # type: ignore[union-attr]


def gathered(posts: Posts, stamp: tuple[int, int] = STAMP) -> list[RecordBatch]:
    return [member.batch for member in posts.gather(10_000, stamp=stamp)]


def lead(posts: Posts, tail: Tail) -> list[Request]:
    group = posts.gather(10_000, stamp=STAMP)
    posts.begin(group)
    posts.take(tail.next_offset)
    return group


def moved(tail: Tail, count: int) -> Tail:
    return Tail(next_offset=tail.next_offset + count, segment=0, append_time_ms=77, last=Location(0, 4096, 5))


def test_what_is_posted_is_gathered_with_all_that_belongs_to_it(two: tuple[Posts, Posts]) -> None:
    leader, poster = two
    own = lines("1", "2")
    other = RecordBatch(
        lines=b"3\n4\n",
        count=2,
        keys=[b'"k"', b"null"],
        headers=[b"null", b"[]"],
        timestamps_ms=[-1, 5],
    )
    poster.post(other, stamp=STAMP)
    leader.post(own, stamp=STAMP)
    assert [own, other] == gathered(leader)
    assert [other, own] == gathered(poster)


def test_a_request_is_done_with_its_place_once_its_leader_says_so(two: tuple[Posts, Posts]) -> None:
    leader, poster = two
    number = poster.post(lines("1", "2"), stamp=STAMP)
    own = leader.post(lines("0"), stamp=STAMP)
    assert number is not None and own is not None
    assert leader.try_lead() and not poster.try_lead()
    tail = Tail(next_offset=40, segment=0)
    lead(leader, tail)
    assert poster.is_taken(number) and not poster.is_committed(number)
    leader.settle(tail.next_offset + 3, 5, 77)
    assert poster.is_committed(number) and not poster.is_done(number)
    assert News.SILENCE is poster.wait(number, timeout_seconds=0.001)
    leader.end()
    leader.finish()
    leader.leave()
    assert News.DONE is poster.wait(number, timeout_seconds=1.0)
    assert ((41, 77), (40, 77), 5) == (poster.placed(), leader.placed(), poster.sequence())
    assert [] == gathered(poster)
    assert poster.try_lead()


def test_a_request_that_was_taken_back_is_not_taken(two: tuple[Posts, Posts]) -> None:
    leader, poster = two
    number = poster.post(lines("1"), stamp=STAMP)
    assert number is not None
    group = leader.gather(10_000, stamp=STAMP)
    leader.begin(group)
    assert poster.withdraw(number)
    with pytest.raises(Retracted):
        leader.take(0)
    leader.end()
    assert not poster.is_taken(number)
    assert [] == gathered(leader)
    # The other way round it comes too late.
    number = poster.post(lines("1"), stamp=STAMP)
    assert number is not None
    lead(leader, Tail(next_offset=0, segment=0))
    assert not poster.withdraw(number)


def test_only_the_thread_that_appends_a_group_takes_it(two: tuple[Posts, Posts]) -> None:
    leader, poster = two
    number = poster.post(lines("1"), stamp=STAMP)
    assert number is not None
    leader.begin(leader.gather(10_000, stamp=STAMP))
    # Another thread of the process appends to the same log something else, and marks and settles its head.
    thread = threading.Thread(target=lambda: (leader.take(3), leader.settle(4, 5, 77)))
    thread.start()
    thread.join(timeout=10)
    assert not poster.is_taken(number) and not poster.is_committed(number)


@pytest.mark.parametrize("committed", [True, False])
def test_what_a_dead_leader_had_taken_is_settled_by_where_the_partition_ends(
    two: tuple[Posts, Posts], tmp_path: Path, committed: bool
) -> None:
    leader, poster = two
    number = poster.post(lines("1"), stamp=STAMP)
    assert number is not None
    tail = Tail(next_offset=8, segment=0)
    lead(leader, tail)
    resolve_left(str(tmp_path), moved(tail, 1) if committed else tail, salt=SALT)
    assert (committed, committed) == (poster.is_committed(number), poster.is_taken(number))
    assert ([] if committed else [lines("1")]) == gathered(poster)


def test_other_settings_and_other_epochs_are_not_gathered(two: tuple[Posts, Posts], tmp_path: Path) -> None:
    leader, poster = two
    number = poster.post(lines("1"), stamp=STAMP)
    assert number is not None
    later = open_posts(str(tmp_path), salt=SALT + 1)
    assert later is not None
    assert [] == gathered(later)
    later.close()
    assert [] == gathered(leader, (7, 10))
    assert poster.is_refused(number)


def test_a_request_that_is_torn_is_not_gathered(two: tuple[Posts, Posts], tmp_path: Path) -> None:
    leader, poster = two
    poster.post(lines('"some value"'), stamp=STAMP)
    path = tmp_path / "posts"
    whole = path.read_bytes()
    at = whole.index(b"some value")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"S")
    assert [] == gathered(leader)


def test_a_slot_is_free_again_when_its_owner_goes_and_its_numbers_are_not_used_again(tmp_path: Path) -> None:
    taken = [open_posts(str(tmp_path), salt=SALT) for _ in range(SLOTS)]
    assert all(taken)
    assert open_posts(str(tmp_path), salt=SALT) is None
    old = taken[5]
    assert old is not None
    number = old.post(lines("1"), stamp=STAMP)
    old.retract()
    old.close()
    heir = open_posts(str(tmp_path), salt=SALT)
    assert heir is not None and number is not None
    assert heir.post(lines("2"), stamp=STAMP) == number + 1
    for posts in {*taken, heir} - {old}:
        assert posts is not None
        posts.close()


def test_what_does_not_fit_is_not_posted(two: tuple[Posts, Posts]) -> None:
    assert two[0].post(lines('"' + "x" * 5000 + '"'), stamp=STAMP) is None
    assert [] == gathered(two[1])


def test_a_group_ends_before_it_is_too_large(two: tuple[Posts, Posts]) -> None:
    leader, poster = two
    for posts in two:
        posts.post(lines('"' + "x" * 3000 + '"'), stamp=STAMP)
    assert 1 == len(leader.gather(4000, stamp=STAMP))
    assert 2 == len(poster.gather(7000, stamp=STAMP))


def test_a_file_that_was_not_finished_is_finished(tmp_path: Path) -> None:
    (tmp_path / "posts").write_bytes(bytes(1000))
    posts = open_posts(str(tmp_path), salt=SALT)
    assert posts is not None
    number = posts.post(lines("1"), stamp=STAMP)
    assert number is not None
    assert [lines("1")] == gathered(posts)
    posts.close()
