"""docs/pipeline-expressions.md says what the code does."""

from __future__ import annotations

import json

import pytest

from aegis_cli.pipeline.expression import FUNCTIONS
from tests.pipeline.expression.computing import compute
from tests.pipeline.expression.page import PAGE, examples, record, with_list

RECORD = record()


@pytest.mark.parametrize(("expression", "result"), examples())
def test_an_example_of_the_page_gives_what_the_page_says(expression: str, result: str) -> None:
    # As text, so that 3 is not 3.0 and true is not 1.
    assert repr(json.loads(result)) == repr(compute(expression, **RECORD))


def test_the_page_has_the_functions_that_the_code_has() -> None:
    page = PAGE.read_text()
    assert with_list(page) == page, "run python -m tests.pipeline.expression.page"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_a_description_and_an_example_that_calls_it(name: str) -> None:
    function = FUNCTIONS[name]
    assert function.summary.endswith(".")
    assert function.examples
    assert all(f"{name}(" in expression for expression, _ in function.examples)
