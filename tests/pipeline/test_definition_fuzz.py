"""Hostile pipeline files: a Definition or a PipelineFileError comes out, and nothing else, and soon."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aegis_cli.pipeline.reading.file import KEYS
from tests.pipeline.definition_files import SEED, reference_files
from tests.pipeline.fuzz_files import Outcome, check, fuzz

_TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["a", "-", "5m", "count()", "sum(a)", "true", "0", "a > 1", "${a:-b}", "&x", "*x", "|"]),
)
_VALUES = st.recursive(
    _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


def flow(value: object) -> str:
    """A value as YAML that may well be wrong: nothing is quoted."""
    if isinstance(value, list):
        return f"[{', '.join(flow(each) for each in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {flow(each)}' for key, each in value.items())}}}"
    return str(value)


def assert_held(text: str) -> None:
    outcome = Outcome()
    check(text, outcome)
    assert "" == outcome.problem


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    assert_held(text)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), _VALUES, max_size=8))
def test_any_keys_with_any_values(keys: dict[str, object]) -> None:
    assert_held("".join(f"{key}: {flow(value)}\n" for key, value in keys.items()))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([SEED, *(text for _, text in reference_files())]), st.integers(0), st.text(max_size=3))
def test_a_good_file_with_any_text_in_it(text: str, place: int, added: str) -> None:
    at = place % (len(text) + 1)
    assert_held(text[:at] + added + text[at:])


def test_thousands_of_files_with_changes() -> None:
    outcome = fuzz(examples=3000, seed=3)
    assert "" == outcome.problem
    # Were nothing accepted, only the first line of every file would have been looked at.
    assert outcome.accepted > outcome.examples // 20
