"""The page about expressions: its examples, and its list of functions as the code has it.

`python -m tests.pipeline.expression.page` writes the list anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from aegis_cli.pipeline.expression import FAMILIES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "pipeline-expressions.md"
_LIST = re.compile(r"(<!-- functions: begin -->\n).*(<!-- functions: end -->)", re.DOTALL)
_EXAMPLE = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \|$", re.MULTILINE)


def functions_list() -> str:
    """The list of functions, from the code."""
    lines: list[str] = []
    for title, functions in FAMILIES.items():
        lines += [f"### {title}", ""]
        for function in functions.values():
            lines += [
                f"**`{function.signature}`** {function.summary}",
                "",
                "| Expression | Result |",
                "| --- | --- |",
            ]
            lines += [f"| `{expression}` | `{result}` |" for expression, result in function.examples]
            lines.append("")
    return "\n".join(lines)


def with_list(page: str) -> str:
    """The page with the list that the code has now."""
    return _LIST.sub(lambda match: f"{match[1]}\n{functions_list()}\n{match[2]}", page)


def record() -> dict[str, Any]:
    """The record over which the examples are computed."""
    found = re.search(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    value = json.loads(found[1])
    assert isinstance(value, dict)
    return value


def examples() -> list[tuple[str, str]]:
    """All examples of the page: expressions, and their results as JSON."""
    return _EXAMPLE.findall(PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(with_list(PAGE.read_text()))
