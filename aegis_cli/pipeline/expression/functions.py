"""All functions that expressions can call, by name."""

from __future__ import annotations

from aegis_cli.pipeline.expression import (
    number_functions,
    regex_functions,
    text_functions,
    time_functions,
    value_functions,
)
from aegis_cli.pipeline.expression.function import Function

FAMILIES: dict[str, dict[str, Function]] = {
    "Texts": text_functions.family.functions,
    "Regular expressions": regex_functions.family.functions,
    "Numbers": number_functions.family.functions,
    "Times": time_functions.family.functions,
    "Values": value_functions.family.functions,
}
"""The functions by what they are about, in the order of the documentation."""

FUNCTIONS: dict[str, Function] = {
    name: function for family in FAMILIES.values() for name, function in family.items()
}

AGGREGATES = frozenset(
    ["count", "sum", "avg", "first", "last", "count_distinct", "percentile", "top_n", "collect", "median"]
)
"""Names that people try in an expression although they belong under 'aggregate'."""
