from __future__ import annotations

import pytest

from storage.errors import InvalidNameError
from storage.names import check_name, suggest


@pytest.mark.parametrize("name", ["orders", "a", "A.b_c-9", "...", "-x", "x" * 249, ".hidden"])
def test_a_name_within_the_rules_passes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it is empty"),
        (".", "it means a directory"),
        ("..", "it means a directory"),
        ("../x", "it holds '/'"),
        ("a b", "it holds ' '"),
        ("a\n", "it holds '\\n'"),
        ("café", "it holds 'é'"),
        ("a\0", "it holds '\\x00'"),
        ("x" * 250, "it has 250 characters"),
        ("٣", "it holds '٣'"),
    ],
)
def test_a_name_outside_the_rules_is_refused_with_the_rule(name: str, reason: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        check_name(name)
    assert reason == caught.value.reason
    assert name == caught.value.name
    assert "\n" not in str(caught.value)


def test_the_nearest_name_is_suggested() -> None:
    assert "orders" == suggest("ordrs", ["payments", "orders", "order-archive"])


def test_a_name_in_the_wrong_case_is_suggested() -> None:
    assert "Orders" == suggest("ORDERS", ["Orders", "payments"])


def test_nothing_is_suggested_if_nothing_is_near() -> None:
    assert suggest("orders", ["payments", "clicks"]) is None
    assert suggest("orders", []) is None
