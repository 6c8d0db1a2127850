"""Which portion may be begun, and when."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from aegis_cli.delivery.key_order import KeyOrder
from aegis_cli.delivery.portion import Portion
from storage.assignor import Place

PLACE = Place("t", "", 0)


def added(order: KeyOrder, *names: str) -> list[Portion]:
    """A portion for each, with the names that its letters are."""
    portions = []
    for letters in names:
        portions.append(Portion(PLACE))
        order.add(portions[-1], letters)
    return portions


def begun(order: KeyOrder, now: float = 0.0) -> list[Portion]:
    """All that may be begun now."""
    found = []
    while (portion := order.next(now)) is not None:
        found.append(portion)
    return found


def test_one_name_is_in_work_once_and_in_order() -> None:
    order = KeyOrder()
    first, second, other = added(order, "a", "a", "b")
    assert [first, other] == begun(order)
    order.finish(other)
    assert [] == begun(order)
    order.finish(first)
    assert [second] == begun(order)


def test_a_portion_of_several_names_waits_for_all_and_holds_all() -> None:
    order = KeyOrder()
    first, second, both, last = added(order, "a", "b", "ab", "b")
    assert [first, second] == begun(order)
    order.finish(first)
    assert [] == begun(order)
    order.finish(second)
    assert [both] == begun(order)
    order.finish(both)
    assert [last] == begun(order)


def test_what_waits_to_be_tried_again_keeps_its_name() -> None:
    order = KeyOrder()
    first, second = added(order, "a", "a")
    assert [first] == begun(order)
    order.later(first, 5.0)
    assert ([], 5.0) == (begun(order, 4.9), order.next_time)
    assert [first] == begun(order, 5.0)
    order.finish(first)
    assert [second] == begun(order, 5.0)
    order.finish(second)
    assert 0 == len(order)


def test_what_is_behind_a_cancelled_one_still_waits_for_what_is_in_work() -> None:
    order = KeyOrder()
    first, second, third = added(order, "a", "a", "a")
    assert [first] == begun(order)
    order.cancel(second)
    assert [] == begun(order)
    order.finish(first)
    assert [third] == begun(order)


def test_a_cancelled_one_that_waits_for_its_time_lets_the_next_go_at_once() -> None:
    order = KeyOrder()
    first, second = added(order, "a", "a")
    assert [first] == begun(order)
    order.later(first, 100.0)
    order.cancel(first)
    assert [second] == begun(order)


@given(
    names=st.lists(st.text("abc", max_size=2).map(lambda text: "".join(sorted(set(text)))), max_size=12),
    choices=st.lists(st.integers(0, 2), min_size=60, max_size=60),
)
def test_whatever_finishes_or_fails_no_name_is_in_work_twice_and_all_are_done_in_order(
    names: list[str], choices: Iterable[int]
) -> None:
    order = KeyOrder()
    portions = added(order, *names)
    of = dict(zip(portions, names, strict=True))
    working: list[Portion] = []
    done: list[Portion] = []
    now = 0.0
    for choice in [*choices, *([0] * (3 * len(names)))]:
        now += 1.0
        working += begun(order, now)
        held = [name for portion in working for name in of[portion]]
        assert len(held) == len(set(held))
        if not working:
            continue
        portion = working.pop(choice % len(working))
        if choice == 1:
            order.later(portion, now + 2.0)
        else:
            order.finish(portion)
            done.append(portion)
    while len(order):
        now += 3.0
        for portion in begun(order, now) + working:
            order.finish(portion)
            done.append(portion)
        working = []
    for name in "abc":
        assert [one for one in portions if name in of[one]] == [one for one in done if name in of[one]]
