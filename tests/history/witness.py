"""Somebody who reads along what happens in a group: each record of its log, before it is shortened."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec

from storage.batch import Batch
from storage.errors import TopicNotFoundError
from storage.group_state import Commit, Generation, GroupState
from storage.member import group_log_name
from storage.reader import Gap, LogReader
from storage.state_log import Change
from storage.store import Store

_LOOK_SECONDS = 0.02
_read_change = msgspec.json.Decoder(Change).decode


class Witness(threading.Thread):
    """`changes` holds all generations and commits in their order; `problems` what could not be read."""

    def __init__(self, store_path: Path, group: str) -> None:
        super().__init__(name=f"witness of {group}", daemon=True)
        self.group = group
        self.changes: list[Generation | Commit] = []
        self.problems: list[str] = []
        self._store_path = store_path
        self._state = GroupState()
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        with Store(self._store_path, read_only=True) as store:
            reader = self._wait_for_log(store)
            if reader is None:
                return
            cursor = reader.cursor(0)
            while True:
                last = self._ended.is_set()
                while (taken := cursor.take(None)) is not None:
                    if isinstance(taken, Gap):
                        self._miss(taken)
                        continue
                    for entry in taken.entries:
                        self._note(reader.batch(taken.segment, entry))
                if last:
                    return
                time.sleep(_LOOK_SECONDS)

    def _wait_for_log(self, store: Store) -> LogReader | None:
        while not self._ended.is_set():
            try:
                return store.reader(group_log_name(self.group), 0)
            except TopicNotFoundError:
                time.sleep(_LOOK_SECONDS)
        return None

    def _note(self, batch: Batch | Gap) -> None:
        if isinstance(batch, Gap):
            self._miss(batch)
            return
        for offset, raw in zip(batch.offsets(), batch.values(), strict=True):
            change = _read_change(raw)
            if "snapshot" in change:
                continue
            self._state.apply(change, offset)
            if "generation" in change:
                self.changes.append(msgspec.convert(change, Generation))
            else:
                self.changes.append(msgspec.convert(change, Commit))

    def _miss(self, gap: Gap) -> None:
        offsets = f"{gap.first_offset} to {gap.end_offset - 1}"
        self.problems.append(f"{self.group}: nobody could read offsets {offsets} of its log: {gap.reason}")

    def positions(self) -> dict[tuple[str, int], int]:
        """Where the group stands now, by topic and partition."""
        return {(place.topic, place.partition): at for place, at in self._state.positions.copy().items()}

    def processes(self) -> set[int]:
        """The processes that are members now."""
        return {info.process for info in self._state.members.copy().values()}

    def end(self) -> None:
        """Read what is there, and no more."""
        self._ended.set()
        self.join()
