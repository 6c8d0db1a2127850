"""What those who work with a recovered store find: groups, output files, producers, pipelines.

Each goes on from where the store says that it is, on a copy of the disk; afterwards everything must be there
once. That the records of their logs are those that were acknowledged is looked at elsewhere: see `promises`.
"""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH110, PTH112, PTH118, PTH119, PTH120, PTH123
from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import msgspec

from aegis_cli.delivery.group_output import GroupOptions
from aegis_cli.delivery.output_file import deliver_to_file
from storage import Store
from storage.assignor import Place
from storage.group_reader import GroupReader
from storage.member import open_group
from tests.power_cut import pipelines
from tests.power_cut.groups import OUTPUT, member_of
from tests.power_cut.producing import LINES, placed, produce, published

_HAVE_WORKERS = ("groups", "producers", "pipelines")


@contextlib.contextmanager
def copied(path: str) -> Iterator[str | None]:
    """A copy of the disk with the store at `path`, if there is somebody who works with it."""
    if not any(os.path.isdir(os.path.join(path, kind)) for kind in _HAVE_WORKERS):
        yield None
        return
    root = os.path.dirname(path) + "-copy"
    shutil.copytree(os.path.dirname(path), root)
    try:
        yield os.path.join(root, os.path.basename(path))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def problems(path: str) -> list[str]:
    """What is wrong with what they find in the store at `path`."""
    found = []
    with Store(path, lock_wait_seconds=1.0) as store:
        for group in store.catalog.names("groups"):
            found += _group_problems(store, group)
        for _ in store.catalog.names("producers"):
            found += _producer_problems(store)
        if pipelines.NAME in store.catalog.names("pipelines"):
            found += _pipeline_problems(store)
        if pipelines.TABLED in store.catalog.names("pipelines"):
            found += _table_problems(store)
    return found


def _values(store: Store) -> list[bytes]:
    return [message.value for message in store.read("t")]


def _group_problems(store: Store, group: str) -> list[str]:
    log, state = open_group(store, group)
    found = []
    for batch in store.batches(log.name, 0):
        for line in getattr(batch, "values", list)():
            rows = [tuple(row[:3]) for row in msgspec.json.decode(line).get("owners", [])]
            if len(rows) != len(set(rows)):
                found.append(f"a place has two owners: {rows}")
    found += [
        f"{owner} owns and is no member" for owner in state.owners.values() if owner not in state.members
    ]
    before = dict(state.positions)
    for place, offset in before.items():
        if offset > store.reader(place.topic, place.partition).end_offset:
            found.append(f"the position {offset} lies behind the end of {place}")
    with member_of(store) as member:
        # Looks which of the others live: none does.
        member.refresh()
        if member.state.positions | before != member.state.positions:
            found.append(f"positions {before} became {member.state.positions}")
        if len(member.owned) != store.topic("t").partitions:
            found.append(f"after all have died the new member owns only {member.owned}")
        if state.files:
            found += _file_problems(store, member.state.positions, *state.files.values())
            path = os.path.join(os.path.dirname(store.path), OUTPUT)
            # The disk was recorded in another directory.
            member.commit({}, files={path: next(iter(state.files.values()))})
            deliver_to_file(member, GroupReader(member, follow=False, pieces=2), path, GroupOptions())
            if b"".join(value + b"\n" for value in _values(store)) != _read(path):
                found.append("the file does not hold each message once")
    return found


def _file_problems(store: Store, positions: dict[Place, int], committed_bytes: int) -> list[str]:
    content = _read(os.path.join(os.path.dirname(store.path), OUTPUT))
    wanted = b"".join(value + b"\n" for value in _values(store)[: sum(positions.values())])
    if content[:committed_bytes] == wanted and len(wanted) == committed_bytes:
        return []
    return [f"{committed_bytes} bytes of the file count, and are not the messages before the position"]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _producer_problems(store: Store) -> list[str]:
    """How the recovered store is not what running the producer to its end makes of it."""
    produce(store, len(LINES))
    found = published(store)
    if found == placed(len(LINES)):
        return []
    counts = [[line[:12] for line in lines] for lines in found]
    return [f"run to its end the producer has published {counts}"]


def _pipeline_problems(store: Store) -> list[str]:
    """How the recovered store is not what running the pipeline to its end makes of it."""
    pipelines.run(store, flush=True)
    found, wanted = pipelines.counts(store), pipelines.expected(store)
    if found == wanted:
        return []
    short = [(count, total) for count, total, _ in found]
    return [f"run to its end the pipeline has written {short}"]


def _table_problems(store: Store) -> list[str]:
    """How the recovered store and its database are not what running the pipeline to its end makes of them."""
    path = os.path.join(os.path.dirname(store.path), "out.db")
    pipelines.place_database(_read(path) if os.path.exists(path) else None)
    pipelines.run(store, name=pipelines.TABLED, flush=True)
    found, wanted = pipelines.rows(), pipelines.expected(store)
    if found == wanted == pipelines.counts(store):
        return []
    short = [(count, total) for count, total, _ in found]
    return [f"run to its end the pipeline has brought {short} into the table"]
