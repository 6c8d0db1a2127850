"""Where something stands in a pipeline's file, and how it is shown in a message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aegis_cli.pipeline.errors import PipelineFileError

# Longer texts are cut in messages, and are not compared with what they may have been meant to be.
_SHOWN_MAX = 60
_CANDIDATES_MAX = 200


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the file `path`; line and column count from 1."""

    path: str
    line: int
    column: int

    def error(self, reason: str, hint: str = "") -> PipelineFileError:
        """What is wrong here."""
        return PipelineFileError(self.path, reason, line=self.line, column=self.column, hint=hint)


def shown(text: str) -> str:
    """`text` in quotes and on one line, cut where it is long."""
    return repr(text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "...")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The hint that names what `name` was probably meant to be, or else all that is known; "" for nothing."""
    import difflib
    from itertools import islice

    # Both limits keep a comparison, which is quadratic, cheap also for a file that was made to be slow.
    candidates = [other for other in islice(known, _CANDIDATES_MAX) if len(other) <= _SHOWN_MAX]
    if not candidates:
        return ""
    if len(name) <= _SHOWN_MAX:
        by_folded = {other.casefold(): other for other in candidates}
        nearest = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
        if nearest:
            return f"did you mean {by_folded[nearest[0]]!r}?"
    listed = ", ".join(_one_line(other) for other in candidates[:20])
    return f"there are: {listed}"


def _one_line(name: str) -> str:
    return name if name.isprintable() else repr(name)
