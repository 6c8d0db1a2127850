"""How `aegis consume --group` takes what happens to the group while messages are on their way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aegis_cli.delivery.group_output import GroupOptions, _Delivery
from aegis_cli.delivery.output_file import OutputFile
from aegis_cli.delivery.taken import Taken
from storage.group_reader import GroupReader
from storage.member import Member
from storage.output import Output
from storage.store import Store
from storage.topic import TopicSettings
from storage.watch import open_watch

_PAD = "x" * 2000
_MESSAGES = 1500
_STEPS_MAX = 100_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t", TopicSettings(partitions=2))
        yield store


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def read_numbers(fd: int) -> list[int]:
    """The numbers of all messages that lie in a pipe."""
    parts = []
    while True:
        try:
            parts.append(os.read(fd, 1 << 20))
        except BlockingIOError:
            return [int(line.rpartition(b":")[2].strip(b"}")) for line in b"".join(parts).splitlines()]


def test_what_waits_for_room_is_not_skipped_when_another_member_comes_and_goes(
    store: Store, stack: ExitStack
) -> None:
    # The second partition is the one that moves.
    with store.transaction() as transaction:
        for number in range(_MESSAGES):
            transaction.publish("t", {"pad": _PAD, "n": number}, partition=1)
    read_fd, write_fd = os.pipe()
    stack.callback(os.close, read_fd)
    stack.callback(os.close, write_fd)
    os.set_blocking(read_fd, False)
    member = stack.enter_context(Member(store, "g", ["t"]))
    reader = GroupReader(member, follow=False, pieces=50)
    watch = open_watch()
    stack.callback(watch.close)

    delivery = _Delivery(member, reader, Taken(Output(write_fd)), GroupOptions(pieces=50), watch)
    for _ in range(_STEPS_MAX):
        delivery._step()
        if delivery._pending is not None:
            break
    assert delivery._pending is not None and delivery._handed
    with Member(store, "g", ["t"]):
        delivery._next_look = 0.0
        delivery._step()
        assert member.to_release
    taken: list[int] = []
    for _ in range(_STEPS_MAX):
        taken += read_numbers(read_fd)
        if delivery._step():
            break
    assert list(range(_MESSAGES)) == taken


def test_an_output_file_keeps_what_was_committed_to_it_after_the_member_joined(
    tmp_path: Path, store: Store, stack: ExitStack
) -> None:
    path = str(tmp_path / "out")
    first = stack.enter_context(Member(store, "g", ["t"]))
    file = OutputFile(first, path)
    second = stack.enter_context(Member(store, "g", ["t"]))
    file.write(b"delivered\n")
    file.commit({})
    file.close()
    again = OutputFile(second, path)
    stack.callback(again.close)
    assert b"delivered\n" == Path(path).read_bytes()
