"""`Portion`: messages of one place that are handed over as a whole."""

from __future__ import annotations

from storage.assignor import Place
from storage.batch import Batch


class Portion:
    """Some messages of one place, in the order of their offsets; it grows until it is handed out.

    `tries` says how often a command was given it, `begun` that one has it or is through with it, `void` that
    it is not ours any more. When it is `done`, only `next_offset` is left of it.
    """

    __slots__ = ("batches", "begun", "count", "done", "next_offset", "place", "size_bytes", "tries", "void")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.batches: list[Batch] = []
        self.count = 0
        self.next_offset = 0
        self.size_bytes = 0
        self.tries = 0
        self.begun = False
        self.done = False
        self.void = False

    def add(self, batch: Batch) -> None:
        """Put the messages that follow behind."""
        self.batches.append(batch)
        self.count += batch.count
        self.size_bytes += len(batch.lines)
        self.next_offset = batch.last_offset + 1

    def cut(self, count: int) -> None:
        """Keep only so many messages, the first ones."""
        batches, self.batches = self.batches, []
        self.count = self.size_bytes = 0
        for batch in batches:
            left = count - self.count
            if left > 0:
                self.add(batch if batch.count <= left else batch.select(range(left)))

    def finish(self) -> None:
        """Nothing is left to do with it: let go of the messages."""
        self.done = True
        self.batches = []

    @property
    def first_offset(self) -> int:
        return self.batches[0].base_offset

    @property
    def last_offset(self) -> int:
        return self.batches[-1].last_offset

    @property
    def lines(self) -> bytes:
        """The values, one a line."""
        if len(self.batches) == 1:
            return self.batches[0].lines
        return b"".join([batch.lines for batch in self.batches])

    def all_keys(self) -> set[bytes]:
        """The keys that occur, as JSON text."""
        found: set[bytes | None] = set()
        for batch in self.batches:
            found.update(batch.keys() or ())
        return {key for key in found if key is not None}

    @property
    def key(self) -> bytes | None:
        """The key, as JSON text, if all messages have the same one."""
        keys = self.all_keys()
        return keys.pop() if len(keys) == 1 and not self._has_keyless else None

    @property
    def _has_keyless(self) -> bool:
        return any(None in (batch.keys() or (None,)) for batch in self.batches)

    @property
    def timestamp_ms(self) -> int:
        """The time of the first message, in ms UTC."""
        first = self.batches[0]
        times = first.timestamps_ms()
        return first.append_time_ms if times is None else times[0]

    def __str__(self) -> str:
        where = f"topic '{self.place.topic}' partition {self.place.partition}"
        if self.count == 1:
            return f"{where} offset {self.first_offset}"
        return f"{where} offsets {self.first_offset} to {self.last_offset}"
