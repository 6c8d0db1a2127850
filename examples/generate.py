"""Make `purchases.jsonl`: the events of a small shop over one hour, always the same ones.

    python examples/generate.py > examples/purchases.jsonl

Customers look at things, buy some of them and return a few. Events come in the order in which they were seen,
which is not quite that of `created_at`: some arrive up to eight seconds late.
"""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime, timedelta

EVENTS = 200
START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
PRODUCTS = [
    ("tea", 4.5),
    ("coffee", 12.9),
    ("cup", 7.25),
    ("kettle", 39.0),
    ("honey", 6.8),
    ("scale", 24.95),
]


def main() -> None:
    chance = random.Random(1)
    seen_at = START
    for number in range(1, EVENTS + 1):
        seen_at += timedelta(milliseconds=chance.randint(2_000, 34_000))
        created_at = seen_at - timedelta(milliseconds=chance.choice([0, 0, 0, chance.randint(0, 8_000)]))
        sys.stdout.write(json.dumps(event(chance, number, created_at), ensure_ascii=False) + "\n")


def event(chance: random.Random, number: int, created_at: datetime) -> dict[str, object]:
    kind = chance.choices(["view", "purchase", "return"], weights=[5, 4, 1])[0]
    product, price = chance.choice(PRODUCTS)
    quantity = 1 if kind == "view" else chance.randint(1, 4)
    found: dict[str, object] = {
        "id": number,
        "type": kind,
        "customer_id": f"customer-{chance.randint(1, 12):02}",
        "product": product,
        "created_at": created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if kind != "view":
        found["quantity"] = quantity
        found["total"] = round(quantity * price, 2)
    return found


if __name__ == "__main__":
    main()
