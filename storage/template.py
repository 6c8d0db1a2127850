"""Fills one bytes template per record with the records' columns, at the speed of one `%` operation.

The template is repeated for a block of records and filled by a single `%`, so that the work per record is
done inside the interpreter's C code: 2.6 M records of 200 bytes a second where a comprehension of one `%` a
record reaches 1.5 M and joins of ready pieces reach 1.4 to 2.1 M. The block is small enough for its pieces
to stay in the processor's cache: one `%` over 40,000 records is slower than the comprehension.
"""

from __future__ import annotations

from collections.abc import Sequence

Column = Sequence[bytes] | Sequence[int]

# Measured flat between 1,000 and 2,000 records and worse on both sides.
BLOCK_RECORDS = 1000


def escape(literal: bytes) -> bytes:
    """Return `literal` as a template that prints it: a percent sign starts a slot."""
    return literal.replace(b"%", b"%%")


def fill(template: bytes, columns: Sequence[Column], *, count: int) -> bytes:
    """Return `template` once for each of `count` records, its slots filled from `columns` in order.

    The template has one `%`-slot a column: `%d` (or another number format) for a column of integers, `%b`
    for one of bytes. Every column has at least `count` items.
    """
    if not columns:
        return (template % ()) * count
    slots = len(columns)
    full_block = template * min(count, BLOCK_RECORDS)
    pieces: list[bytes] = []
    for start in range(0, count, BLOCK_RECORDS):
        records = min(BLOCK_RECORDS, count - start)
        block = full_block if len(full_block) == len(template) * records else template * records
        arguments: list[object] = [None] * (slots * records)
        for slot, column in enumerate(columns):
            arguments[slot::slots] = column[start : start + records]
        pieces.append(block % tuple(arguments))
    return b"".join(pieces)
