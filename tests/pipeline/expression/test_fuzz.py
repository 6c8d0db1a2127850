"""Random expressions: right ones compute what the reference does, wrong ones are refused and nothing else."""

from __future__ import annotations

import ast
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis_cli.pipeline.expression import Constants, emit, emit_condition
from tests.pipeline.expression.computing import check_source, names_of, read
from tests.pipeline.expression.trees import Trees, random_record, written
from tests.pipeline.fuzz_expressions import check_text, check_tree, fuzz


def test_a_short_run_of_the_fuzzer_finds_nothing() -> None:
    counts = fuzz(4000, seed=20260301)
    assert 2000 == counts["trees"]
    assert counts["taken"] > 50


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_tree_is_computed_as_the_reference_does(random: Random) -> None:
    tree = Trees(random).whole()
    check_tree(tree, written(tree, random), random_record(random))


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from("abr_kx01.,:()[]{}'\"\\+-*/%<>=!&|@#$ \n\t\0é\u2028ifnotandr"), max_size=60))
def test_any_text_is_refused_or_computed(text: str) -> None:
    check_text(text, {"a": 1, "b": "x"})


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_any_text_in_quotes_is_only_a_text(text: str) -> None:
    """Whatever a text or a name holds, it stands in the generated source as one literal, or not at all."""
    quoted = (
        '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
    )
    expression = read(f"field({quoted}) == {quoted} or a[{quoted}] in [{quoted}, b]")
    assert text in expression.fields
    for source in (
        emit(expression, names_of(expression), Constants()),
        emit_condition(expression, names_of(expression), Constants()),
    ):
        check_source(source)
        constants = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
        assert constants <= {text, True, False, None}


@pytest.mark.parametrize(
    "text",
    [
        "__import__",
        "a.__class__.__mro__[1].__subclasses__",
        "field('__builtins__')['eval']",
        "a['__globals__']",
        "type.__base__",
    ],
)
def test_names_of_python_are_nothing_but_names_of_fields(text: str) -> None:
    assert check_text(text, {"a": {"b": 1}, "type": "purchase"})
