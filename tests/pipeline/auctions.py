"""The events of an auction house: persons, what they offer, and bids, always the same ones.

The shape is that of the Nexmark benchmark: of 50 events one is a person, three are auctions and the rest are
bids; few auctions get most of the bids. Times are milliseconds, and up to two seconds out of order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

START_MS = 1_772_000_000_000
DISORDER_MS = 2_000
FIRST_AUCTION = 1_000
Event = dict[str, Any]
STATES = ["OR", "ID", "CA", "AZ", "WA", "WY"]
CITIES = ["Portland", "Boise", "Los Angeles", "Phoenix", "Seattle", "Laramie"]


@dataclass(frozen=True, slots=True)
class Auctions:
    """Events in the order in which they came; each batch holds persons, auctions and bids of one moment."""

    persons: list[Event]
    auctions: list[Event]
    bids: list[Event]
    batches: list[tuple[str, list[Event]]]


def auction_events(*, count: int = 4_000, seed: int = 1) -> Auctions:
    """`count` events. A seller and an auction are published before whatever names them."""
    chance = random.Random(seed)
    found: dict[str, list[Event]] = {"persons": [], "auctions": [], "bids": []}
    batches: list[tuple[str, list[Event]]] = []
    for first in range(0, count, 50):
        moment: dict[str, list[Event]] = {"persons": [], "auctions": [], "bids": []}
        for number in range(first, first + 50):
            kind = "persons" if number % 50 == 0 else "auctions" if number % 50 <= 3 else "bids"
            time_ms = START_MS + number * 50 - chance.choice([0, 0, chance.randrange(DISORDER_MS)])
            event = _MAKERS[kind](chance, found)
            event |= {"date_time": time_ms, "seq": number}
            if kind == "auctions":
                event["expires"] = time_ms + chance.randint(1_000, 20_000)
            found[kind].append(event)
            moment[kind].append(event)
        batches += moment.items()
    return Auctions(found["persons"], found["auctions"], found["bids"], batches)


def _person(chance: random.Random, found: dict[str, list[Event]]) -> Event:
    place = chance.randrange(len(STATES))
    number = len(found["persons"]) + 1
    return {"id": number, "name": f"person {number}", "city": CITIES[place], "state": STATES[place]}


def _auction(chance: random.Random, found: dict[str, list[Event]]) -> Event:
    newest = found["persons"][-1]["id"]
    seller = newest if chance.random() < 0.5 else chance.randint(1, newest)
    number = FIRST_AUCTION + len(found["auctions"])
    return {
        "id": number,
        "seller": seller,
        "category": chance.randint(10, 14),
        "reserve": chance.randint(1, 99),
    }


def _bid(chance: random.Random, found: dict[str, list[Event]]) -> Event:
    newest = found["auctions"][-1]["id"]
    auction = newest if chance.random() < 0.6 else chance.randint(max(FIRST_AUCTION, newest - 100), newest)
    bidder = chance.randint(1, 20) if chance.random() < 0.5 else chance.randint(21, 300)
    # Prices are few, so that some are equal.
    return {"auction": auction, "bidder": bidder, "price": chance.randint(1, 60) * 25}


_MAKERS = {"persons": _person, "auctions": _auction, "bids": _bid}
