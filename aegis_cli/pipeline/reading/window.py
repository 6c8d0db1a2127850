"""`window` of a pipeline file: how time is cut."""

from __future__ import annotations

from aegis_cli.pipeline.definition import Window
from aegis_cli.pipeline.document import Node, ScalarNode
from aegis_cli.pipeline.place import shown
from aegis_cli.pipeline.reading import scalars
from aegis_cli.pipeline.reading.keys import Keys

EXAMPLE = "window: {tumbling: 5m}"
# Each record goes into so many windows at most.
WINDOWS_PER_RECORD_MAX = 1000
COUNT_MAX = 1_000_000_000
_KINDS = ("tumbling", "hopping", "session", "count")
# What each kind takes besides its own key.
_OPTIONS = {"tumbling": ("offset",), "hopping": ("every", "offset"), "session": ("max",), "count": ()}


def window(node: Node) -> Window:
    """The window, without `allow_late`; raises PipelineFileError."""
    if isinstance(node, ScalarNode):
        return Window(kind="tumbling", size_ms=scalars.limited_ms(node, what="'window'"))
    keys = Keys(node, what="'window'", known=(*_KINDS, "every", "offset", "max"), example=EXAMPLE)
    kind = keys.only(_KINDS)
    others = [name for name in ("every", "offset", "max") if name not in _OPTIONS[kind]]
    keys.refuse(others, f"is not for {kind} windows")
    given = keys.need(kind)
    if kind == "count":
        count = scalars.whole(given, what="'count'", least=1, most=COUNT_MAX)
        return Window(kind=kind, count=count)
    size_ms = scalars.limited_ms(given, what=f"{kind!r}")
    if kind == "session":
        return Window(kind=kind, size_ms=size_ms, max_ms=_session_max_ms(keys, size_ms))
    advance_ms = _advance_ms(keys, size_ms) if kind == "hopping" else 0
    offset_ms = _offset_ms(keys, advance_ms or size_ms, "'every'" if advance_ms else "the window")
    return Window(kind=kind, size_ms=size_ms, advance_ms=advance_ms, offset_ms=offset_ms)


def _session_max_ms(keys: Keys, gap_ms: int) -> int | None:
    node = keys.get("max")
    if node is None:
        return None
    max_ms = scalars.duration_ms(node, what="'max'", example="24h", forever=True)
    if max_ms is not None and max_ms < gap_ms:
        raise node.place.error("'max' is shorter than the gap that ends a session", "make it longer")
    return max_ms


def _advance_ms(keys: Keys, size_ms: int) -> int:
    if "every" not in keys:
        raise keys.place.error("a hopping window has no 'every'", "write window: {hopping: 10m, every: 1m}")
    node = keys.need("every")
    advance_ms = scalars.limited_ms(node, what="'every'", example="1m")
    if advance_ms > size_ms:
        raise node.place.error(
            "'every' is longer than the window, and records between two windows would be lost",
            "make it shorter",
        )
    windows = -(-size_ms // advance_ms)
    if windows > WINDOWS_PER_RECORD_MAX:
        raise node.place.error(
            f"each record would be in {windows} windows, and {WINDOWS_PER_RECORD_MAX} are allowed",
            "make 'every' longer",
        )
    return advance_ms


def _offset_ms(keys: Keys, period_ms: int, period: str) -> int:
    """How far windows are moved, from 0 to less than a period; a minus moves them back."""
    node = keys.get("offset")
    if node is None:
        return 0
    given = scalars.text(node, what="'offset'", example="1h")
    back = given.startswith("-")
    amount = ScalarNode(text=given.removeprefix("-"), place=node.place)
    offset_ms = scalars.limited_ms(amount, what="'offset'", example="1h", least_ms=0)
    if offset_ms >= period_ms:
        raise node.place.error(
            f"'offset' {shown(given)} moves windows by a whole one or more", f"make it shorter than {period}"
        )
    return (period_ms - offset_ms if back else offset_ms) % period_ms
