"""The posts through which processes hand their small appends to the one that leads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.batch import RecordBatch
from storage.head import Tail
from storage.journal_record import Location
from storage.posts import News, Posts, Retracted, open_posts
from storage.posts_file import FIRST_SLOT_BYTE, SLOT_BYTES, SLOTS, resolve_left
from storage.request import Group
from tests.storage.small_batches import lines

SALT = 0x1234_5678_9ABC_DEF0
STAMP = (7, 9)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Posts, Posts]]:
    """The posts of two processes."""
    made = [open_posts(str(tmp_path), salt=SALT) for _ in range(2)]
    assert made[0] is not None and made[1] is not None
    yield made[0], made[1]
    for posts in made:
        posts.close()  # type: ignore[union-attr]


def gathered(posts: Posts, stamp: tuple[int, int] = STAMP) -> list[RecordBatch]:
    return posts.gather(10_000, stamp=stamp).batches()


def lead(posts: Posts, tail: Tail) -> Group:
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


@pytest.mark.parametrize(
    "word, value",
    [(0, 7), (2, 1 << 32 | 0xFFFF << 16), (2, 1 << 32 | 4 << 16 | 9)],
    ids=["of another number", "longer than a slot", "with columns that are none"],
)
def test_a_request_that_is_torn_is_not_gathered(
    two: tuple[Posts, Posts], tmp_path: Path, word: int, value: int
) -> None:
    leader, poster = two
    poster.post(lines('"some value"'), stamp=STAMP)
    assert 1 == len(gathered(leader))
    with (tmp_path / "posts").open("r+b") as file:
        file.seek(FIRST_SLOT_BYTE + SLOT_BYTES + word * 8)
        file.write(value.to_bytes(8, "little"))
    assert [] == gathered(leader)


def test_a_request_that_is_written_anew_while_it_is_read_is_not_taken(two: tuple[Posts, Posts]) -> None:
    leader, poster = two
    poster.post(lines("1"), stamp=STAMP)
    leader.begin(leader.gather(10_000, stamp=STAMP))
    # Its poster has given it up, and posts another.
    poster.retract()
    number = poster.post(lines("2"), stamp=STAMP)
    with pytest.raises(Retracted):
        leader.take(0)
    leader.end()
    assert number is not None and not poster.is_taken(number)
    assert [lines("2")] == gathered(leader)


def test_what_a_dead_owner_left_is_not_taken_once_its_slot_has_another(tmp_path: Path) -> None:
    leader, dead = (open_posts(str(tmp_path), salt=SALT) for _ in range(2))
    assert leader is not None and dead is not None
    dead.post(lines("1"), stamp=STAMP)
    dead.close()
    leader.begin(leader.gather(10_000, stamp=STAMP))
    # What the heir writes next goes over what was gathered, or is being copied.
    heir = open_posts(str(tmp_path), salt=SALT)
    assert heir is not None and heir._slot == dead._slot
    with pytest.raises(Retracted):
        leader.take(0)
    leader.end()
    assert [] == gathered(leader)
    for posts in (leader, heir):
        posts.close()


def test_who_comes_to_lead_takes_back_what_the_dead_posted_and_leaves_the_living(tmp_path: Path) -> None:
    leader, dead, living = (open_posts(str(tmp_path), salt=SALT) for _ in range(3))
    assert leader is not None and dead is not None and living is not None
    for number, posts in enumerate((leader, dead, living)):
        posts.post(lines(str(number)), stamp=STAMP)
    dead.close()
    assert leader.try_lead()
    assert [lines("0"), lines("2")] == gathered(leader)
    # Its slot is free for the next one, and the others are not.
    heir = open_posts(str(tmp_path), salt=SALT)
    assert heir is not None and heir._slot == dead._slot
    for posts in (leader, living, heir):
        posts.close()


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
