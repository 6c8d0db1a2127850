"""How many messages a second a group commits, as it is described."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from storage.group_admin import RATE_WINDOW_MS, describe_group
from storage.group_reset import reset_group
from storage.group_state import Commit, rows_of
from storage.member import Member, open_group
from storage.offsets import END, START
from storage.store import Store
from tests.storage.group.groups import Clock, fill, places


def rates(store: Store) -> list[float | None]:
    return [place.messages_per_second for place in places(store)]


def test_the_rate_counts_what_was_committed_in_the_last_minute(
    store: Store, stack: ExitStack, clock: Clock
) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    first, second = member.owned
    member.commit({first: 1000})
    assert [None, None] == rates(store)  # within the first second a rate says nothing
    clock.ahead_ms += RATE_WINDOW_MS + 5000
    member.commit({first: 1060})
    member.commit({first: 1120, second: 30})
    assert [pytest.approx(120 / 60, rel=0.1), pytest.approx(30 / 60, rel=0.1)] == rates(store)
    assert pytest.approx(150 / 60, rel=0.1) == describe_group(store, "g").messages_per_second
    clock.ahead_ms += RATE_WINDOW_MS
    assert [0, 0] == rates(store)


def test_the_rate_of_a_young_group_is_that_of_its_life(store: Store, stack: ExitStack, clock: Clock) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    clock.ahead_ms += 10_000
    member.commit({member.owned[0]: 500})
    assert [pytest.approx(50, rel=0.2), 0] == rates(store)


def test_a_jump_by_hand_is_no_rate(store: Store, stack: ExitStack, clock: Clock) -> None:
    fill(store)
    member = stack.enter_context(Member(store, "g", ["t"]))
    clock.ahead_ms += RATE_WINDOW_MS + 5000
    member.commit(dict.fromkeys(member.owned, 3))
    reset_group(store, "g", to=END)
    assert [pytest.approx(3 / 60, abs=0.01)] * 2 == rates(store)
    reset_group(store, "g", to=START)
    assert [pytest.approx(3 / 60, abs=0.01)] * 2 == rates(store)


def test_a_shortened_log_tells_the_rate_since_it_was_shortened(
    store: Store, stack: ExitStack, clock: Clock
) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    place = member.owned[0]
    for _ in range(2):
        record = Commit(positions=rows_of([(place, 70)]), member="x" * 500, at_ms=clock())
        store.append([member.log.append([record] * 2500, expect_fence=member.log.fence)])
    member.log.refresh()
    member.log.shorten()
    clock.ahead_ms += 10_000
    # How long these took is told by nothing any more.
    member.commit({place: 100})
    clock.ahead_ms += 10_000
    assert [0] == rates(store)[:1]
    member.commit({place: 160})
    clock.ahead_ms += 10_000
    _, state = open_group(store, "g")
    assert 160 == state.positions[place]
    assert [pytest.approx(60 / 20, rel=0.1)] == rates(store)[:1]
