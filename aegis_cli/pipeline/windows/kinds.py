"""Which kinds of windows a file can name, and the store of each."""

from __future__ import annotations

from aegis_cli.pipeline.aggregate import Layout
from aegis_cli.pipeline.definition import GROUPS_MAX, Window
from aegis_cli.pipeline.windows.count import CountWindows
from aegis_cli.pipeline.windows.hopping import HoppingWindows
from aegis_cli.pipeline.windows.session import SessionWindows
from aegis_cli.pipeline.windows.tumbling import TumblingWindows
from aegis_cli.pipeline.windows.unbounded import UnboundedGroups
from aegis_cli.pipeline.windows.windows import Windows

WINDOW_KINDS = ("tumbling", "hopping", "session", "count")


def open_windows(
    window: Window | None, layout: Layout, *, pipeline: str, groups_max: int = GROUPS_MAX
) -> Windows:
    """An empty store for a step's windows. ValueError if the numbers of hopping windows make no sense."""
    if window is None:
        return UnboundedGroups(layout, pipeline=pipeline, groups_max=groups_max)
    if window.kind == "count":
        return CountWindows(layout, count=window.count, pipeline=pipeline, groups_max=groups_max)
    if window.kind == "session":
        return SessionWindows(
            layout,
            gap_ms=window.size_ms,
            max_ms=window.max_ms,
            allow_late_ms=window.allow_late_ms,
            pipeline=pipeline,
            groups_max=groups_max,
        )
    if window.kind == "hopping":
        return HoppingWindows(
            layout,
            size_ms=window.size_ms,
            advance_ms=window.advance_ms,
            offset_ms=window.offset_ms,
            allow_late_ms=window.allow_late_ms,
            pipeline=pipeline,
            groups_max=groups_max,
        )
    assert window.kind == "tumbling", f"there is no window '{window.kind}'"
    return TumblingWindows(
        layout,
        size_ms=window.size_ms,
        offset_ms=window.offset_ms,
        allow_late_ms=window.allow_late_ms,
        pipeline=pipeline,
        groups_max=groups_max,
    )
