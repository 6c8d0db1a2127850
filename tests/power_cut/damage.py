"""Bits that turn on a disk: no store may hand out what was not published, or lose what was without a word.

Of a workload's last moment either everything survives, or only what was synced; either the store is found as
it was left (the same identity: no recovery), or it was copied. One bit of one file is then turned.
"""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH118
from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from storage import checksum, opening
from storage.checksum import Check
from storage.epoch import Identity
from tests.power_cut.crash import SHARED, Outcome, recovered, write_tree
from tests.power_cut.disk import Choice, Disk, newest, oldest, page_at
from tests.power_cut.promises import Facts, View
from tests.power_cut.trace import Marked, Trace, Tree

_HERE = Identity(b"0123456789abcdef", 1, 2, 3)


@contextlib.contextmanager
def one_identity() -> Iterator[None]:
    """Every store is found where it was left."""
    before = opening.current_identity
    opening.current_identity = lambda journal_path: _HERE
    try:
        yield
    finally:
        opening.current_identity = before


@dataclass(frozen=True, slots=True)
class LastMoment:
    """The end of a workload: what was promised by then, and what is left of it."""

    facts: Facts
    tree: Tree


def last_moment(trace: Trace, *, only_synced: bool) -> LastMoment:
    """The disk after the last event, whole or without what was not synced."""
    facts, disk = Facts(), Disk(trace.initial)
    for index, event in enumerate(trace.events):
        disk.follow(event)
        if isinstance(event, Marked):
            facts.learn(event.fact, index)
    everything = frozenset(range(len(disk.pending)))
    tree = disk.build(Choice("", everything, oldest if only_synced else newest))
    page = page_at(trace, len(trace.events))
    if page is not None and not only_synced:
        tree[SHARED] = page
    return LastMoment(facts, tree)


def turned(tree: Tree, suffix: str, *, seed: int, first: int, end: int) -> Iterator[Tree]:
    """The tree with one bit turned, in each byte from `first` to before `end` of each file of this suffix."""
    rng = random.Random(seed)
    for path, content in tree.items():
        if content is None or not path.endswith(suffix):
            continue
        for position in range(first, min(end, len(content))):
            raw = bytearray(content)
            raw[position] ^= 1 << rng.randrange(8)
            yield tree | {path: bytes(raw)}


def harm(scratch: str, tree: Tree, facts: Facts, *, without: Check | None) -> list[str]:
    """What is wrong and unreported after opening the store on this disk, with one check switched off."""
    root = os.path.join(scratch, "damaged")
    write_tree(root, tree)
    checksum.switched_off = without
    try:
        outcome = recovered(os.path.join(root, "store"))
    finally:
        checksum.switched_off = None
        shutil.rmtree(root, ignore_errors=True)
    return _unreported(outcome, facts)


def _unreported(outcome: Outcome, facts: Facts) -> list[str]:
    reported = outcome.refused
    found = [] if reported else list(outcome.problems)
    for view in (outcome.after, outcome.again):
        if view is not None:
            reported = reported or bool(view.problems) or any(p.problems for p in view.partitions.values())
            found += _wrong(view, facts)
    if not reported and outcome.after is not None:
        found += facts.problems(outcome.after)
    return found


def _wrong(view: View, facts: Facts) -> list[str]:
    found = []
    for place, partition in view.partitions.items():
        known, possible = facts.known.get(place, {}), facts.possible.get(place, {})
        for offset, line in partition.lines.items():
            if offset in known and known[offset][1] != line:
                found.append(f"offset {offset} is another message")
            if possible.get(line.value) != line:
                found.append(f"offset {offset} holds what nobody published")
    return found
