"""Sources: however the bytes of an input arrive, its lines come out whole, once and in order."""

from __future__ import annotations

import os
import tempfile
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.source import BLOCK_BYTES, Source

LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b" ")), max_size=20)
LIMIT_BYTES = 1000
# Also those whose end lies just before, at the edges of, and behind where a block's last line end is sought.
SIZES = [0, 5, 999, BLOCK_BYTES - 4100, *range(BLOCK_BYTES - 4098, BLOCK_BYTES - 4094)]
SIZES += [BLOCK_BYTES - 1000, BLOCK_BYTES - 2, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES]


def taken(source: Source, *, skip_above: int | None = None) -> tuple[list[bytes], bool]:
    """The lines that come out, and whether the last one was cut; lines above the limit are skipped."""
    found = b""
    cut = False
    for block in source.blocks(lambda: 0):
        assert block.cut or block.data[-1:] in (b"", b"\n")
        assert not cut
        found += block.data
        cut = block.cut
        if skip_above is not None and block.rest_bytes > skip_above:
            source.skip_line()
    return found.split(b"\n"), cut


@settings(max_examples=100, deadline=None)
@given(
    lines=LINES,
    last=st.binary(max_size=5),
    pieces=st.lists(st.integers(1, 30)),
    linger=st.sampled_from([0, 1]),
)
def test_a_pipe_gives_its_lines_however_they_are_written(
    lines: list[bytes], last: bytes, pieces: list[int], linger: int
) -> None:
    last = last.replace(b"\n", b"")
    data = b"\n".join([*lines, last])
    ours, theirs = os.pipe()

    def write() -> None:
        rest = data
        for size in pieces:
            os.write(theirs, rest[:size])
            rest = rest[size:]
        os.write(theirs, rest)
        os.close(theirs)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found, cut = taken(Source(ours, linger_ms=linger, name="pipe"))
    finally:
        writer.join()
        os.close(ours)
    assert (data.split(b"\n"), bool(last)) == (found, cut)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.sampled_from(SIZES), max_size=5),
    ended=st.booleans(),
)
def test_a_file_gives_its_lines_and_skips_those_that_are_too_long(sizes: list[int], ended: bool) -> None:
    lines = [bytes([97 + number]) * size for number, size in enumerate(sizes)]
    data = b"\n".join([*lines, b""]) if ended else b"\n".join(lines)
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        file.seek(0)
        whole, _ = taken(Source(file.fileno(), linger_ms=0, name="file"))
        file.seek(0)
        short, _ = taken(Source(file.fileno(), linger_ms=0, name="file"), skip_above=LIMIT_BYTES)
    assert data.split(b"\n") == whole
    # A long line that came with its end is for the checks behind to refuse; none of them is given in part.
    assert [line for line in short if len(line) <= LIMIT_BYTES and line] == [
        line for line in lines if 0 < len(line) <= LIMIT_BYTES
    ]
    assert set(short) <= {*lines, b""}


def test_a_block_of_a_file_is_what_was_read_and_ends_with_its_last_whole_line() -> None:
    line = b"x" * 99 + b"\n"
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(line * 30_000)
        file.seek(0)
        sizes = [len(block.data) for block in Source(file.fileno(), linger_ms=0, name="file").blocks(int)]
    whole = BLOCK_BYTES - BLOCK_BYTES % len(line)
    assert [whole, whole, 3_000_000 - 2 * whole] == sizes
