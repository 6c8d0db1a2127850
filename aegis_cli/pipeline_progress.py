"""A line on a terminal that shows how a pipeline goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aegis_cli.context import Env

if TYPE_CHECKING:
    from aegis_cli.pipeline.around import Progress

_SHOW_SECONDS = 0.5
_CLEAR = "\r\x1b[K"


@contextmanager
def live_line(env: Env) -> Iterator[Callable[[Progress], None] | None]:
    """What tells how a run goes on a terminal; `None` where there is none."""
    if not env.stderr_is_terminal or env.quiet:
        yield None
        return
    last = began = time.monotonic()
    before = 0

    def show(progress: Progress) -> None:
        nonlocal last, before
        now = time.monotonic()
        if now - last < _SHOW_SECONDS:
            return
        rate = (progress.account.records_in - before) / (now - last)
        last, before = now, progress.account.records_in
        mark = time_or_dash(_known(progress.watermark_ms))
        text = f"{rate:,.0f} records/s, lag {progress.lag:,}, watermark {mark}, {progress.open:,} open"
        env.stderr.write(_CLEAR + text)
        env.stderr.flush()

    try:
        yield show
    finally:
        if last > began:
            env.stderr.write(_CLEAR)
            env.stderr.flush()


def clear_line(env: Env) -> None:
    """Make place for something else on the line."""
    if env.stderr_is_terminal and not env.quiet:
        env.stderr.write(_CLEAR)


def _known(time_ms: int) -> int | None:
    return None if abs(time_ms) >= 1 << 61 else time_ms


def time_or_dash(time_ms: int | None) -> str:
    """A time for a person; a watermark that is before the year 1 is shown as its beginning."""
    from aegis_cli.pipeline.event_time import MIN_MS
    from aegis_cli.pipeline.grouping import time_text

    return "-" if time_ms is None else time_text(max(time_ms, MIN_MS))
