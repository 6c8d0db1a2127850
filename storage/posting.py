"""Posting: a process lets another append its small batch, or leads and appends those of all who have posted.

The memory that they share is that of `storage.posts`; FORMAT.md section 5.1 says how they use it.

Promises: a request is appended once or not at all, and the poster knows which before it returns; a leader
that dies, or is stopped outside of the partition's lock, delays the others by milliseconds; one that comes
back does no harm.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from storage import files
from storage.batch import Receipt, RecordBatch
from storage.combine import GROUP_BYTES, check_columns
from storage.errors import (
    InDoubtError,
    LockTimeoutError,
    NotYetVisibleError,
    StorageError,
    TopicChangedError,
)
from storage.log import Log
from storage.posts import STALL_SECONDS, News, Posts, Retracted, open_posts
from storage.posts_file import POSTS_FILE

if TYPE_CHECKING:
    from storage.log import LogPlace
    from storage.small_post import SmallPost
    from storage.turns import Turns

# A process posts until, as the leader, it had fewer than so many in its group so often in a row.
_GROUP_ENOUGH = 3
_SMALL_GROUPS_MAX = 32
# A leader without news for some of the syncs that the disk did last is looked at, if that is longer than
# `STALL_SECONDS`; and one that is not stopped gets so much time.
_STALL_SYNCS = 4
_STALL_SECONDS_MAX = 2.0
_SILENCE_SECONDS_MAX = 0.1
# For so long nothing is posted where the leader was found to be stopped, or no slot was free.
_SHY_SECONDS = 0.1
_GATHERINGS_MAX = 3
# For so long a leader goes on to append for others when its own append is done. Some thirty groups: the first
# of them cost one that has just woken up twice what they cost it later.
_MORE_SECONDS = 0.02
# What is committed gets at least so long to become visible.
_SHOW_SECONDS = 1.0


class Append(Protocol):
    """The ordinary way to append a batch."""

    def __call__(self, batch: RecordBatch, deadline: float | None, durable: bool) -> Receipt: ...


class Posting:
    """This process among those that post to one log. One thread at a time uses it."""

    def __init__(self, log: Log, *, turns: Turns, append: Append, wait_seconds: float) -> None:
        """`turns` are those of this process's threads; what is posted the short way waits so long."""
        self._log = log
        self._turns = turns
        self._wait_seconds = wait_seconds
        self._journal = log.journal
        self._append = append
        self._posts: Posts | None = None
        self._groups_left = 0
        self._shy_until = 0.0
        # The short way, for the partition as it was when that was made.
        self.small_post: SmallPost | None = None

    def close(self) -> None:
        """Give back the slot."""
        if self._posts is not None:
            self._log.group = None
            self._end_short_way()
            self._posts.close()
            self._posts = None

    def begin(self) -> None:
        """There is a crowd: post from now on."""
        self._groups_left = _SMALL_GROUPS_MAX
        if self._posts is None:
            self._open()

    @property
    def is_due(self) -> bool:
        """Whether there is a crowd, as this process knows it or as somebody leads one."""
        if not self._groups_left and (self._posts is None or not self._posts.is_led):
            return False
        return not self._shy_until or time.monotonic() > self._shy_until

    def append(self, batch: RecordBatch, deadline: float) -> Receipt | None:
        """Append a batch in company, durably where the log is to be durable; `None` if nothing came of it: it
        has to be done the ordinary way. Raises what `storage.append.append` does, and `InDoubtError`.
        """
        self._shy_until = 0.0
        posts, place = self._posts or self._open(), self._log.place
        if posts is None:
            return None
        check_columns(batch)
        try:
            number = posts.post(batch, stamp=place.settings_stamp)
            if not number:
                return None
            if not self._await(posts, number, deadline, place):
                self._end_short_way()
                return None
        except BaseException:
            self.give_up()
            raise
        if self.small_post is None or place is not self.small_post.place:
            self._end_short_way()
            self.small_post = posts.small_post(self._log, place, self._turns, self)
        return self._receipt(posts, batch.count, place)

    def see_to(self, number: int, count: int, place: LogPlace) -> Receipt | None:
        """What `append` does with a request of so many records that was posted the short way for this place.

        The short way ends if this thread came to lead, or nothing came of it.
        """
        posts, done = self._posts, False
        if posts is None:
            return None
        try:
            done = self._await(posts, number, time.monotonic() + self._wait_seconds, place)
        except TopicChangedError:
            self.give_up()
        if not done:
            self._end_short_way()
            return None
        return self._receipt(posts, count, place)

    def _await(self, posts: Posts, number: int, deadline: float, place: LogPlace) -> bool:
        """Whether the request, made for this place, is done; it is taken back if not."""
        return self._wait(posts, number, deadline) or self._conclude(posts, number, deadline, place)

    def _receipt(self, posts: Posts, count: int, place: LogPlace) -> Receipt:
        base_offset, append_time_ms = posts.placed()
        return Receipt(
            topic=place.topic,
            partition=place.partition,
            base_offset=base_offset,
            last_offset=base_offset + count - 1,
            append_time_ms=append_time_ms,
        )

    def give_up(self) -> None:
        """What its writer has given up should not be appended any more, if that can still be said."""
        if self._posts is not None:
            self._posts.retract()

    def _open(self) -> Posts | None:
        # There may be no room for the file, or no slot: then each appends for itself.
        with suppress(StorageError, OSError):
            self._posts = self._log.group = open_posts(self._log.place.directory, salt=self._journal.salt)
        if self._posts is None:
            self._shy_until = time.monotonic() + _SHY_SECONDS
        return self._posts

    def _end_short_way(self) -> None:
        if self.small_post is not None:
            self.small_post.is_open = False
            self.small_post = None

    # -- as a poster ----------------------------------------------------------------------------------

    def _wait(self, posts: Posts, number: int, deadline: float) -> bool:
        """Wait until the request is durable and visible, or lead where nobody does; whether it is done."""
        beat = posts.beat
        patience = 0.0 if not posts.is_led else STALL_SECONDS
        while deadline > time.monotonic():
            news = posts.wait(number, timeout_seconds=patience) if patience else News.LOOK
            if news is News.DONE:
                return True
            if posts.is_refused(number):
                return False
            if not posts.is_taken(number) and (news is News.SILENCE or not posts.is_led) and posts.try_lead():
                if self._lead(posts, number, deadline):
                    return True
            elif news is News.SILENCE and beat == posts.beat:
                # One that is only slow is better company than the crowd at the lock.
                if patience >= _SILENCE_SECONDS_MAX or not posts.leader_runs():
                    break
                patience *= 2
            else:
                beat, patience = posts.beat, self._patience()
        if not posts.is_taken(number):
            self._shy_until = time.monotonic() + _SHY_SECONDS
        return False

    def _patience(self) -> float:
        return max(STALL_SECONDS, min(_STALL_SYNCS * self._journal.page.sync_seconds, _STALL_SECONDS_MAX))

    def _conclude(self, posts: Posts, number: int, deadline: float, place: LogPlace) -> bool:
        """Nobody goes on with the request: finish it if it is committed, take it back otherwise."""
        if not posts.is_committed(number) and not self._find_committed(posts, number, deadline):
            return False
        if place.is_durable:
            self._journal.wait_durable(posts.sequence())
        if not posts.is_done(number):
            self._show(deadline)
        return True

    def _find_committed(self, posts: Posts, number: int, deadline: float) -> bool:
        """Whether the request is committed; it is taken back if not."""
        log, place = self._log, self._log.place
        began = time.monotonic()
        try:
            log.lock.acquire(timeout_seconds=max(deadline - began, 0.0))
        except LockTimeoutError as error:
            if posts.withdraw(number):
                return False  # and find out the ordinary way that there is no time left
            if posts.is_committed(number):
                return True
            raise InDoubtError(place.topic, place.partition, f"{error.holder} is at it and stands") from error
        try:
            if posts.is_taken(number) and not posts.is_committed(number):
                # Who took it has died: finding the tail says what became of it.
                log.load()
            if posts.is_committed(number):
                return True
            if posts.is_taken(number):
                raise InDoubtError(place.topic, place.partition, f"somebody removed its file '{POSTS_FILE}'")
            posts.retract()
            return False
        finally:
            log.lock.release()

    def _show(self, deadline: float) -> None:
        """Make visible all that is committed."""
        log = self._log
        try:
            log.lock.acquire(timeout_seconds=max(deadline - time.monotonic(), _SHOW_SECONDS))
        except LockTimeoutError as error:
            raise NotYetVisibleError(log.place.topic, log.place.partition, str(error)) from error
        try:
            log.finish_last(log.load())
        finally:
            log.lock.release()

    # -- as the leader --------------------------------------------------------------------------------

    def _lead(self, posts: Posts, number: int, deadline: float) -> bool:
        """Append all that is posted; whether the own request is done."""
        # It is the long way that looks after the log when something was appended to it here.
        self._end_short_way()
        try:
            if not posts.is_taken(number):
                # Otherwise the leader before this one took it after all.
                self._append_posted(posts, deadline)
            if not posts.is_done(number):
                return False
            until = time.monotonic() + _MORE_SECONDS
            # It takes less from one who did just that than from another, who has to wake up for it. What
            # fails here its writers find out for themselves: this one's append is done.
            with suppress(Exception):
                while not self._turns.are_awaited and time.monotonic() < until:
                    if not self._append_posted(posts, deadline):
                        break
            return True
        finally:
            posts.leave()

    def _append_posted(self, posts: Posts, deadline: float) -> bool:
        """Append what is posted, the own request first; whether there was any."""
        for _ in range(_GATHERINGS_MAX):
            place = self._log.place
            group = posts.gather(GROUP_BYTES, stamp=place.settings_stamp)
            if not group:
                return False
            posts.begin(group)
            files.step("combine.gathered")
            try:
                self._append(group.together(), deadline, place.is_durable)
            except Retracted:
                # One poster has given up; the others stay.
                continue
            except BaseException:
                posts.give_up()
                raise
            finally:
                posts.end()
            posts.finish()
            if len(group) >= _GROUP_ENOUGH:
                self._groups_left = _SMALL_GROUPS_MAX
            elif self._groups_left:
                self._groups_left -= 1
            return True
        return False
