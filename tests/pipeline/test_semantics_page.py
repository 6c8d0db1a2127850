"""The page about what pipelines mean names everything that a file can ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aegis_cli.pipeline.aggregate import AGGREGATES, AggregateKind
from aegis_cli.pipeline.aggregates.limit import VALUES_MAX
from aegis_cli.pipeline.windows.kinds import WINDOW_KINDS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "pipeline-semantics.md").read_text()


def calls_of(kind: AggregateKind) -> list[str]:
    """How an aggregate is called with as few arguments as it takes, and with all of them."""
    needed = [parameter for parameter in kind.parameters if "?" not in parameter]
    return [
        f"{kind.name}({', '.join(name.rstrip('?=') for name in names)})"
        for names in (needed, kind.parameters)
    ]


@pytest.mark.parametrize("name", AGGREGATES)
def test_the_page_has_each_aggregate_as_it_is_called(name: str) -> None:
    rows = "".join(line for line in PAGE.splitlines(keepends=True) if line.startswith("| `"))
    assert [] == [call for call in calls_of(AGGREGATES[name]) if f"`{call}`" not in rows]


@pytest.mark.parametrize("kind", WINDOW_KINDS)
def test_the_page_has_each_kind_of_window(kind: str) -> None:
    assert f"\n| `{kind}` |" in PAGE


def test_the_page_names_no_aggregate_that_does_not_exist() -> None:
    section = PAGE.partition("\n## Aggregates\n")[2].partition("\n| point")[0]
    named = {match[1] for match in re.finditer(r"`([a-z_]+)\(", section)}
    assert set(AGGREGATES) == named


def test_the_page_states_the_limit_of_values() -> None:
    assert f"{VALUES_MAX:,} of a group at most" in PAGE


def test_links_of_the_page_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert targets
    assert [] == [target for target in targets if not (DOCS / target).exists()]


@pytest.mark.parametrize("kind", AGGREGATES.values(), ids=lambda kind: kind.name)
def test_each_aggregate_says_what_it_is_in_a_sentence(kind: AggregateKind) -> None:
    assert kind.doc[0].isupper()
    assert kind.doc.endswith(".")
