"""Batches as the reader makes them, small or drawn by hypothesis, for what prints and filters them."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from storage.batch import Batch
from storage.meta import Columns

T = TypeVar("T")

APPEND_TIME_MS = 1_700_000_000_000

VALUES = st.one_of(
    st.integers().map(lambda n: b"%d" % n),
    st.sampled_from(
        [
            b"null",
            b"true",
            b"1e400",
            b"12345678901234567890",
            b'"\\u0000"',
            b'"%d %s %%"',
            b'{"a":1,"a":2}',
            b"[ 1,\t2 ]",
            b'{"$base64":"AAECAw=="}',
            '{"käse":"€𝄞"}'.encode(),
            b'"}{"',
        ]
    ),
    st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\')).map(
        lambda text: f'"{text}"'.encode()
    ),
)
KEYS = st.one_of(
    st.none(),
    st.sampled_from([b'"abc"', b"7", b"1e400", b'"a\\u0062c"', b'{"$base64":"AP8="}', b'""', b'"50%"']),
)
HEADERS = st.one_of(
    st.none(),
    st.sampled_from(
        [
            b'[{"key":"a","value":"b"}]',
            b'[{"key":"a","value":"b"},{"key":"a","value":null}]',
            b'[{"key":"bin","value":{"$base64":"AP8="}}]',
        ]
    ),
)
TIMES_MS = st.integers(min_value=0, max_value=253_402_300_799_999)


class RecordingBatch(Batch):
    """A batch that notes which of its columns were asked for."""

    __slots__ = ("calls",)

    def values(self) -> list[bytes]:
        self._note("values")
        return super().values()

    def keys(self) -> list[bytes | None] | None:
        self._note("keys")
        return super().keys()

    def headers(self) -> list[bytes | None] | None:
        self._note("headers")
        return super().headers()

    def timestamps_ms(self) -> list[int] | None:
        self._note("timestamps_ms")
        return super().timestamps_ms()

    def offsets(self) -> range | list[int]:
        self._note("offsets")
        return super().offsets()

    def _note(self, column: str) -> None:
        if not hasattr(self, "calls"):
            self.calls: list[str] = []
        self.calls.append(column)

    def called(self) -> list[str]:
        """The columns asked for, sorted, each as often as it was."""
        return sorted(getattr(self, "calls", []))


def sample_batch(
    values: list[bytes],
    *,
    keys: list[bytes | None] | None = None,
    headers: list[bytes | None] | None = None,
    timestamps_ms: list[int] | None = None,
    offsets: list[int] | None = None,
    base_offset: int = 5,
) -> RecordingBatch:
    """A batch of `orders`, partition 3, as the store's reader would make it."""
    count = len(values)
    return RecordingBatch(
        topic="orders",
        partition=3,
        offsets=offsets or range(base_offset, base_offset + count),
        lines=b"".join(value + b"\n" for value in values),
        append_time_ms=APPEND_TIME_MS,
        columns=Columns(
            base_offset=base_offset,
            count=count,
            keys=None if keys is None else [key or b"null" for key in keys],
            headers=None if headers is None else [header or b"null" for header in headers],
            timestamps_ms=timestamps_ms,
            offset_deltas=None if offsets is None else [offset - base_offset for offset in offsets],
        ),
        key_field=None,
    )


def _column(items: st.SearchStrategy[T], count: int) -> st.SearchStrategy[list[T] | None]:
    return st.one_of(st.none(), st.lists(items, min_size=count, max_size=count))


@st.composite
def batches(draw: st.DrawFn, *, records_max: int = 12) -> RecordingBatch:
    values = draw(st.lists(VALUES, min_size=1, max_size=records_max))
    count = len(values)
    gaps = draw(_column(st.integers(1, 9), count))
    base_offset = draw(st.integers(0, 2**62))
    return sample_batch(
        values,
        keys=draw(_column(KEYS, count)),
        headers=draw(_column(HEADERS, count)),
        timestamps_ms=draw(_column(st.just(-1) | TIMES_MS, count)),
        offsets=None if gaps is None else [base_offset + sum(gaps[:i]) for i in range(count)],
        base_offset=base_offset,
    )
