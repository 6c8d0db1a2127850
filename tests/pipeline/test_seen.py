"""What dedup remembers: the first of a key passes, those near it do not, and memory does not grow."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis_cli.pipeline.errors import StateTooLargeError
from aegis_cli.pipeline.seen import Seen
from aegis_cli.pipeline.windows.key import key_of

NEVER = -(1 << 62)


def passes(seen: Seen, *times: int, key: object = "a") -> list[bool]:
    return [seen.add(key_of((key,)), time_ms, NEVER) for time_ms in times]


def test_the_first_of_a_key_passes_and_others_within_the_time_do_not() -> None:
    seen = Seen(within_ms=10, pipeline="p")
    assert [True, False, False, True, False] == passes(seen, 0, 0, 9, 10, 19)
    assert [True] == passes(seen, 5, key="b")


def test_only_what_passed_is_remembered() -> None:
    # A key that never pauses passes once in each stretch of the time.
    assert [0, 10, 20] == [t for t in range(30) if passes(SEEN, t) == [True]]


SEEN = Seen(within_ms=10, pipeline="p")


def test_a_record_out_of_order_is_held_against_times_before_and_after_it() -> None:
    seen = Seen(within_ms=10, pipeline="p")
    assert [True, False, True, False, True, False] == passes(seen, 50, 41, 40, 45, 20, 30 - 1)
    assert [True] == passes(seen, 30)


def test_true_and_one_are_two_keys() -> None:
    seen = Seen(within_ms=10, pipeline="p")
    assert [[True], [True], [True], [False]] == [passes(seen, 0, key=key) for key in (1, True, "1", 1.0)]


def test_a_record_that_is_later_than_what_is_remembered_passes_whenever_things_are_forgotten() -> None:
    for expires in (False, True):
        seen = Seen(within_ms=10, pipeline="p")
        assert seen.add(("a",), 5, 0)
        if expires:
            seen.expire(20)
        assert seen.add(("a",), 6, 20)


def test_what_is_over_is_forgotten_and_told_of() -> None:
    seen = Seen(within_ms=16, pipeline="p")
    passes(seen, 0)
    passes(seen, 20, key="b")
    assert [[["a"], [0]], [["b"], [20]]] == seen.changes()
    seen.expire(16)
    assert 2 == seen.open
    seen.expire(17)
    assert 1 == seen.open
    assert [[["a"], None]] == seen.changes()
    assert [] == seen.changes()


def test_a_key_that_comes_and_goes_between_two_commits_is_never_written() -> None:
    seen = Seen(within_ms=16, pipeline="p")
    passes(seen, 0)
    seen.expire(100)
    assert [] == seen.changes()


def test_no_more_keys_are_remembered_than_the_limit() -> None:
    seen = Seen(within_ms=10, pipeline="once", keys_max=2)
    passes(seen, 0, key="a")
    passes(seen, 0, key="b")
    with pytest.raises(StateTooLargeError, match="'once' stops: it would hold more than 2 keys"):
        passes(seen, 0, key="c")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", True, 1]), st.integers(0, 80)), max_size=30),
    st.integers(1, 20),
    st.integers(0, 30),
    st.lists(st.sampled_from(["", "expire", "restart", "commit"]), min_size=30, max_size=30),
    st.sets(st.integers(0, 29)),
)
def test_what_passes_does_not_depend_on_when_things_are_forgotten_or_stored(
    records: list[tuple[object, int]], within_ms: int, bound_ms: int, drive: list[str], refused: set[int]
) -> None:
    seen = Seen(within_ms=within_ms, pipeline="p")
    log: list[str] = []
    passed: dict[str, list[int]] = {}
    mark = NEVER
    for number, ((key, time_ms), event) in enumerate(zip(records, drive, strict=False)):
        times = passed.setdefault(json.dumps(key), [])
        expected = not any(abs(time_ms - t) < within_ms and t + within_ms > mark for t in times)
        assert expected == seen.add(key_of((key,)), time_ms, mark)
        if expected and number in refused:
            seen.take_back(key_of((key,)), time_ms)
        elif expected:
            times.append(time_ms)
        mark = max(mark, time_ms - bound_ms)
        if event == "expire":
            seen.expire(mark)
        elif event:
            log.append(json.dumps(seen.changes()))
        if event == "restart":
            seen = Seen(within_ms=within_ms, pipeline="p")
            for rows in log:
                seen.apply(json.loads(rows))
    seen.expire(1000)
    assert 0 == seen.open
