"""Pipeline files that tests share: the blocks of the reference page, and what hostile files are made of."""

from __future__ import annotations

import re
from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "pipeline-files.md"

SEED = """\
source: raw-events
filter: type == "purchase"
map: {customer: customer_id, amount: total, timestamp: created_at}
time: {field: timestamp, watermark: 10s}
window: {tumbling: 5m}          # `window: 5 min` is sugar
aggregate: {total_purchases: count, total_amount: sum(amount)}
sink: purchase-metrics
"""


def reference_files() -> list[tuple[int, str]]:
    """Every YAML block of the reference page, with the line in which it begins."""
    page = REFERENCE.read_text()
    return [
        (page.count("\n", 0, match.start(1)) + 1, match[1])
        for match in re.finditer(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    ]
