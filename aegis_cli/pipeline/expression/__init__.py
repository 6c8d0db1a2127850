"""The language of conditions and computed fields: Python's expression syntax, with the values of JSON.

`parse` reads a text, `emit` and `emit_condition` write Python source that computes it; what expressions mean
is said in docs/pipeline-expressions.md.
"""

from __future__ import annotations

from aegis_cli.pipeline.expression.constants import Constants
from aegis_cli.pipeline.expression.emit import emit, emit_condition, emit_time
from aegis_cli.pipeline.expression.functions import FAMILIES, FUNCTIONS
from aegis_cli.pipeline.expression.parse import parse
from aegis_cli.pipeline.expression.tree import Expression

__all__ = ["FAMILIES", "FUNCTIONS", "Constants", "Expression", "emit", "emit_condition", "emit_time", "parse"]
