"""The short way to post does what the long one does, and leaves to that what it does not see to the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage import files
from storage.batch import Receipt, RecordBatch
from storage.log import LogPlace
from storage.posts import Posts, open_posts
from storage.posts_file import has_common_clock
from storage.small_post import SmallPost
from storage.turns import Turn, Turns
from tests.cli.processes import wait_for
from tests.storage.small_batches import lines

SALT = 0x1234_5678_9ABC_DEF0
STAMP = (7, 9)
PLACE = LogPlace(
    directory="t/3",
    log_id=bytes(16),
    topic="t",
    partition=3,
    settings_path="t/topic.toml",
    settings_stamp=STAMP,
    segment_bytes=1 << 20,
    segment_age_ms=1 << 20,
    is_durable=True,
)


@dataclass
class Seen:
    """Who goes on with what is not seen to the end: it notes what that is, and takes it back."""

    requests: list[tuple[int, int, LogPlace]] = field(default_factory=list)
    given_up: int = 0

    def see_to(self, number: int, count: int, place: LogPlace) -> Receipt | None:
        self.requests.append((number, count, place))
        return None

    def give_up(self) -> None:
        self.given_up += 1


@dataclass
class Two:
    """A process that leads, and one that posts the short way."""

    leader: Posts
    poster: Posts
    small: SmallPost
    log: Any
    turns: Turns
    seen: Seen

    def append(self, batch: RecordBatch) -> Receipt | None:
        return self.small.append(batch.lines, batch.count)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    # Elsewhere there is no short way; what it does is the same.
    monkeypatch.setattr("storage.posts._weakly_ordered", False)
    made = [open_posts(str(tmp_path), salt=SALT) for _ in range(2)]
    leader, poster = made
    assert leader is not None and poster is not None
    seen, turns = Seen(), Turns()
    log: Any = SimpleNamespace(place=PLACE)
    small = poster.small_post(log, PLACE, turns, seen)
    assert small is not None
    yield Two(leader, poster, small, log, turns, seen)
    monkeypatch.undo()
    for posts in (leader, poster):
        posts.close()


def batches(posts: Posts) -> list[RecordBatch]:
    return posts.gather(10_000, stamp=STAMP).batches()


def done(posts: Posts, next_offset: int) -> None:
    """Lead: append all that is posted there, and say so."""
    posts.begin(posts.gather(10_000, stamp=STAMP))
    posts.take(next_offset)
    posts.settle(next_offset + 10, 5, 77)
    posts.end()
    posts.finish()


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Have something done at a step."""

    def at(name: str, work: Callable[[], object]) -> None:
        class Observer:
            def step(self, reached: str) -> None:
                if reached == name:
                    work()

        monkeypatch.setattr(files, "observer", Observer())

    return at


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.small_post.system_call", lambda *given: pytest.fail("it waits"))


def test_both_ways_leave_the_same_request(two: Two) -> None:
    batch = lines('"one"', '{"two": 2}')
    assert two.leader.try_lead()
    assert two.append(batch) is None
    short = two.leader.gather(10_000, stamp=STAMP)
    assert [batch] == short.batches()
    assert [(number, 2, PLACE) for number in short.numbers] == two.seen.requests
    number = two.poster.post(batch, stamp=STAMP)
    assert [number] == [each + 1 for each in short.numbers]
    long = two.leader.gather(10_000, stamp=STAMP)
    assert ([number], short.slots, [batch]) == (long.numbers, long.slots, long.batches())


def test_the_news_of_its_leader_is_its_receipt(
    two: Two, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    assert two.leader.try_lead()
    two.leader._be_patient(10.0)
    posted = threading.Event()
    at_step("combine.posted", posted.set)

    def lead() -> None:
        assert posted.wait(10)
        done(two.leader, 40)

    thread = threading.Thread(target=lead)
    thread.start()
    receipt = two.append(lines("1", "2"))
    thread.join(10)
    assert receipt == Receipt(topic="t", partition=3, base_offset=40, last_offset=41, append_time_ms=77)
    assert 42 == two.small.next_offset
    assert [] == two.seen.requests
    assert two.turns.try_lead()


def test_nothing_is_posted_where_nobody_leads(two: Two) -> None:
    assert two.append(lines("1")) is None
    assert ([], []) == (two.seen.requests, batches(two.leader))


def test_nothing_is_posted_while_another_thread_leads_its_own(two: Two) -> None:
    assert two.leader.try_lead()
    assert two.turns.try_lead()
    assert two.append(lines("1")) is None
    assert ([], []) == (two.seen.requests, batches(two.leader))
    assert not two.turns.try_lead()


def test_nothing_is_posted_once_it_is_closed(two: Two) -> None:
    assert two.leader.try_lead()
    two.small.is_open = False
    assert two.append(lines("1")) is None
    assert ([], []) == (two.seen.requests, batches(two.leader))


def test_what_is_large_goes_the_long_way(two: Two) -> None:
    assert two.leader.try_lead()
    assert two.append(lines('"' + "x" * 5000 + '"')) is None
    assert ([], []) == (two.seen.requests, batches(two.leader))


@pytest.mark.usefixtures("no_sleep")
def test_a_leader_that_goes_at_that_moment_is_not_waited_for(
    two: Two, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    assert two.leader.try_lead()
    at_step("combine.posted", two.leader.leave)
    assert two.append(lines("1")) is None
    assert 1 == len(two.seen.requests)
    assert [lines("1")] == batches(two.poster)


@pytest.mark.usefixtures("no_sleep")
def test_a_leader_that_is_done_at_that_moment_is_not_waited_for(
    two: Two, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    assert two.leader.try_lead()
    at_step("combine.posted", lambda: done(two.leader, 8))
    receipt = two.append(lines("1"))
    assert receipt is not None and 8 == receipt.base_offset


def test_a_leader_that_stands_is_waited_for_as_long_as_it_said(two: Two) -> None:
    assert two.leader.try_lead()
    two.leader._be_patient(0.1)
    began = time.monotonic()
    assert two.append(lines("1")) is None
    assert 0.05 < time.monotonic() - began < 10
    assert 1 == len(two.seen.requests)


def test_a_poster_that_is_woken_for_another_leaves_its_request_to_be_seen_to(two: Two) -> None:
    assert two.leader.try_lead()
    two.leader._be_patient(10.0)
    answers: list[Receipt | None] = []
    thread = threading.Thread(target=lambda: answers.append(two.append(lines("1"))))
    thread.start()
    wait_for(lambda: bool(batches(two.leader)))
    wait_for(lambda: two.leader._wake(1 << 1) or bool(answers))
    thread.join(10)
    assert [None] == answers
    assert 1 == len(two.seen.requests)


def test_an_interrupted_writer_takes_its_request_back_and_lets_others_lead(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("storage.small_post.system_call", interrupted)
    assert two.leader.try_lead()
    with pytest.raises(KeyboardInterrupt):
        two.append(lines("1"))
    assert 1 == two.seen.given_up
    assert two.turns.try_lead()


def test_a_thread_that_queued_up_meanwhile_leads_next(
    two: Two, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    turn = Turn(lines("2"))
    at_step("combine.posted", lambda: two.turns.queue_up(turn))
    assert two.leader.try_lead()
    two.append(lines("1"))
    assert turn.leads
    assert not two.turns.try_lead()


def test_nothing_is_posted_for_a_log_that_has_got_other_settings(two: Two) -> None:
    assert two.leader.try_lead()
    two.log.place = replace(PLACE, segment_bytes=1 << 21)
    assert two.append(lines("1")) is None
    assert ([], []) == (two.seen.requests, batches(two.leader))


def test_one_with_a_clock_of_its_own_neither_posts_the_short_way_nor_has_others_wait(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.posts.has_common_clock", lambda: False)
    assert two.poster.small_post(two.log, PLACE, two.turns, two.seen) is None
    assert two.leader.try_lead()
    # It returns at once: nobody else would wake it.
    assert two.append(lines("1")) is None
    assert 1 == len(two.seen.requests)


@pytest.mark.parametrize(
    ("inode", "has_namespaces", "common"),
    [(0xEFFFFFFA, True, True), (0xEFFFFFFB, True, False), (None, True, True), (None, False, False)],
)
def test_the_clock_is_common_in_the_namespace_that_the_machine_begins_with(
    inode: int | None, has_namespaces: bool, common: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(path: str) -> SimpleNamespace:
        if inode is None:
            raise FileNotFoundError(path)
        return SimpleNamespace(st_ino=inode)

    monkeypatch.setattr("storage.posts_file.os.stat", stat)
    monkeypatch.setattr("storage.posts_file.os.path.exists", lambda path: has_namespaces)
    answer = has_common_clock.__wrapped__()
    monkeypatch.undo()
    assert common == answer


def test_there_is_no_short_way_without_a_futex(two: Two) -> None:
    two.poster._open_futex().number = None
    assert two.poster.small_post(two.log, PLACE, two.turns, two.seen) is None
