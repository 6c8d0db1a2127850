"""What a renderer asks of a batch that was read: its columns, each only when it is wanted.

`storage.batch.Batch` is one; a selection of some of its records (`aegis_cli/grep.py`) is another. Keys and
headers are raw JSON text without a newline, `None` or `b"null"` where a record has none.
"""

from __future__ import annotations

from typing import Protocol


class BatchView(Protocol):
    """Records of one partition in the order of their offsets; every column has `count` items."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def base_offset(self) -> int: ...

    @property
    def last_offset(self) -> int: ...

    @property
    def count(self) -> int: ...

    @property
    def lines(self) -> bytes:
        """The values, each one JSON text ended by a newline."""
        ...

    @property
    def append_time_ms(self) -> int:
        """Milliseconds UTC; the timestamp of every record when `timestamps_ms()` is `None`."""
        ...

    def values(self) -> list[bytes]:
        """The lines without their newlines."""
        ...

    def keys(self) -> list[bytes | None] | None:
        """`None` when no record of the batch has a key."""
        ...

    def headers(self) -> list[bytes | None] | None:
        """`None` when no record of the batch has headers."""
        ...

    def timestamps_ms(self) -> list[int] | None:
        """`None` when every record has the batch's append time."""
        ...

    def offsets(self) -> range | list[int]: ...
