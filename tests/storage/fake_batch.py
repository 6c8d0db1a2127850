"""A batch held in plain lists, with the attributes that renderers ask of a batch that was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import strategies as st

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeBatch:
    value_list: list[bytes]
    key_list: list[bytes | None] | None = None
    header_list: list[bytes | None] | None = None
    time_list: list[int] | None = None
    offset_list: list[int] | None = None
    topic: str = "orders"
    partition: int = 3
    base_offset: int = 5
    append_time_ms: int = APPEND_TIME_MS
    calls: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.value_list)

    @property
    def last_offset(self) -> int:
        return self.offset_list[-1] if self.offset_list else self.base_offset + self.count - 1

    @property
    def lines(self) -> bytes:
        return b"".join(value + b"\n" for value in self.value_list)

    def values(self) -> list[bytes]:
        self.calls.append("values")
        return self.value_list

    def keys(self) -> list[bytes | None] | None:
        self.calls.append("keys")
        return self.key_list

    def headers(self) -> list[bytes | None] | None:
        self.calls.append("headers")
        return self.header_list

    def timestamps_ms(self) -> list[int] | None:
        self.calls.append("timestamps_ms")
        return self.time_list

    def offsets(self) -> range | list[int]:
        self.calls.append("offsets")
        return self.offset_list or range(self.base_offset, self.base_offset + self.count)


def _column(items: st.SearchStrategy[T], count: int) -> st.SearchStrategy[list[T] | None]:
    return st.one_of(st.none(), st.lists(items, min_size=count, max_size=count))


@st.composite
def batches(draw: st.DrawFn, *, records_max: int = 12) -> FakeBatch:
    values = draw(st.lists(VALUES, min_size=1, max_size=records_max))
    count = len(values)
    gaps = draw(_column(st.integers(1, 9), count))
    base_offset = draw(st.integers(0, 2**62))
    return FakeBatch(
        value_list=values,
        key_list=draw(_column(KEYS, count)),
        header_list=draw(_column(HEADERS, count)),
        time_list=draw(_column(TIMES_MS, count)),
        offset_list=None if gaps is None else [base_offset + sum(gaps[:i]) for i in range(count)],
        base_offset=base_offset,
    )
