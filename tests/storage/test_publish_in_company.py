"""A message that is published while another process leads: the short way, and what ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import files
from storage.posting import Posting
from storage.posts import Posts, open_posts
from storage.small_post import SmallPost
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.cli.processes import wait_for
from tests.storage.small_batches import lines


class Company:
    """A store whose writer posts, and `leader`, another process that leads its topic or goes."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = store
        self._monkeypatch = monkeypatch
        log = store._log("t", 0)
        store.publish("t", 0)
        store.publish("t", 1)
        store._company.combiner(log)._post_from_now_on()
        store.publish("t", 2)
        leader = open_posts(log.place.directory, salt=log.journal.salt)
        assert leader is not None
        self.leader: Posts = leader

    @property
    def small_post(self) -> SmallPost:
        return self.store._small_posts["t"]

    def when_posted(self, work: Callable[[], object]) -> None:
        """Have something done once, by the leader, when a message has been posted."""

        class Observer:
            def step(observer, reached: str) -> None:
                if reached == "combine.posted":
                    self._monkeypatch.setattr(files, "observer", None)
                    work()

        self._monkeypatch.setattr(files, "observer", Observer())

    def values(self) -> list[bytes]:
        return [message.value for message in self.store.read("t")]


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Company]:
    monkeypatch.setattr("storage.posts._weakly_ordered", False)
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t")
        made = Company(store, monkeypatch)
        yield made
        made.leader.close()


def test_what_a_leader_leaves_behind_is_appended_all_the_same(company: Company) -> None:
    small_post = company.small_post
    assert company.leader.try_lead()
    company.when_posted(company.leader.leave)
    assert 3 == company.store.publish("t", 3).base_offset
    assert not small_post.is_open
    assert 4 == company.store.publish("t", 4).base_offset
    assert company.small_post is not small_post and company.small_post.is_open
    assert [b"0", b"1", b"2", b"3", b"4"] == company.values()


def test_one_that_came_to_lead_sees_to_the_upkeep_that_is_due(company: Company) -> None:
    company.store.journal.wants_checkpoint = True
    assert company.leader.try_lead()
    company.when_posted(company.leader.leave)
    company.store.publish("t", 3)
    assert not company.store.journal.wants_checkpoint


def test_a_store_whose_upkeep_fails_goes_the_ordinary_way_until_it_succeeds(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.maintenance.Maintenance.run_if_idle", lambda *given: None)
    company.store.journal.wants_checkpoint = True
    company.store.publish("t", 3)
    assert {} == company.store._small_posts
    monkeypatch.undo()
    monkeypatch.setattr("storage.posts._weakly_ordered", False)
    company.store.publish("t", 4)
    assert not company.store.journal.wants_checkpoint


def test_what_rests_on_older_settings_is_refused_and_appended_by_the_new_ones(company: Company) -> None:
    with Store(company.store.path) as other:
        stamp = other.alter_topic("t", TopicSettings(segment_bytes=1 << 22)).stamp
    assert company.leader.try_lead()
    company.when_posted(lambda: (company.leader.gather(10_000, stamp=stamp), company.leader.leave()))
    assert 3 == company.store.publish("t", 3).base_offset
    assert stamp == company.store._log("t", 0).place.settings_stamp
    assert [b"0", b"1", b"2", b"3"] == company.values()


def test_what_a_leader_of_older_settings_finds_out_is_not_the_posters_error(company: Company) -> None:
    with Store(company.store.path) as other:
        other.alter_topic("t", TopicSettings(segment_bytes=1 << 22))
    # It comes to lead by the settings that it knows.
    assert company.leader.try_lead()
    company.when_posted(company.leader.leave)
    assert 3 == company.store.publish("t", 3).base_offset
    assert [b"0", b"1", b"2", b"3"] == company.values()


def test_nobody_is_told_before_it_is_durable_by_one_that_knew_a_topic_that_need_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.posts._weakly_ordered", False)
    with Store(tmp_path / "store", create=True) as store, Store(store.path) as other:
        store.create_topic("t", TopicSettings(durability="os"))
        company = Company(store, monkeypatch)
        log = store._log("t", 0)
        third = open_posts(log.place.directory, salt=log.journal.salt)
        assert third is not None
        stamp = other.alter_topic("t", TopicSettings()).stamp
        numbers: list[int | None] = []

        def leave() -> None:
            numbers.append(third.post(lines("3"), stamp=stamp))
            company.leader.leave()

        finish, synced = Posts.finish, []

        def finished(posts: Posts) -> None:
            finish(posts)
            if third.is_done(numbers[0] or 0):
                synced.append(third.sequence() < log.journal.page.read_synced())

        monkeypatch.setattr(Posts, "finish", finished)
        store.topic("t")
        assert company.leader.try_lead()
        company.when_posted(leave)
        store.append([Append(topic="t", partition=0, batches=[lines("4")])])
        while not synced:
            store.publish("t", 5)
            assert len(company.values()) < 100
        assert [True] == synced[:1]
        for posts in (third, company.leader):
            posts.close()


def test_no_short_way_is_kept_for_a_topic_that_has_got_more_partitions(company: Company) -> None:
    store = company.store
    turns = store._company.combiner(store._log("t", 0))._turns
    assert turns.try_lead()
    thread = threading.Thread(target=lambda: store.publish("t", 3))
    thread.start()
    wait_for(lambda: bool(turns.waiting))
    with Store(store.path) as other:
        other.alter_topic("t", TopicSettings(partitions=2))
    # What another thread does that finds this out.
    store.topic("t")
    store._log("t", 0)
    store._small_posts.clear()
    turns.pass_on()
    thread.join(10)
    assert {} == store._small_posts
    assert {0, 1} == {store.publish("t", number).partition for number in range(4)}


def test_a_large_message_leaves_the_short_way_and_is_no_crowd(company: Company) -> None:
    combiner = company.store._company.combiner(company.store._log("t", 0))
    assert company.leader.try_lead()
    small_post = company.small_post
    small_post.next_offset = 1000
    combiner._next_offset = 3
    company.store.publish("t", "x" * 5000)
    assert company.small_post is small_post and small_post.is_open
    assert 0.0 == combiner._crowd
    company.leader.leave()


def test_a_closed_store_posts_no_more(company: Company) -> None:
    small_post = company.small_post
    assert company.leader.try_lead()
    company.store.close()
    assert {} == company.store._small_posts
    assert small_post.append(b"3\n", 1) is None
    company.leader.leave()


def test_batches_of_lines_go_the_short_way_too(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    see_to = Posting.see_to
    monkeypatch.setattr(
        Posting, "see_to", lambda self, *given: (seen.append(given[1]), see_to(self, *given))[1]
    )
    combiner = company.store._company.combiner(company.store._log("t", 0))
    assert company.leader.try_lead()
    company.when_posted(company.leader.leave)
    receipt = combiner.append(lines("3", "4"), True)
    assert ([2], 3, 4) == (seen, receipt.base_offset, receipt.last_offset)
