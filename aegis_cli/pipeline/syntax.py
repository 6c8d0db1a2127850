"""What is wrong with a text that is no YAML, and what its writer probably meant."""

from __future__ import annotations

import re
from typing import Any

from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.place import Place, shown

SIZE_BYTES_MAX = 1 << 20

# What YAML takes for printable, without the line breaks that only it knows: lines count as in an editor. What
# is beyond ASCII takes milliseconds to compile, and most files have nothing of it.
_UNPRINTABLE_ASCII = re.compile("[^\t\n\r\x20-\x7e]")
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_LONE_RETURN = re.compile(r"\r(?!\n)")
# Directives are compared with one another, all with all; no line of a mapping can begin with one.
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
# Standard input and output are written '-', which YAML takes for the beginning of a list. Nothing can follow
# on that line, so that quotes move no other place; in a text of many lines they would do no harm.
_DASH = re.compile(r"^( *(?:- +)*(?:source|sink): +)-(?= *(?: #.*)?\r?$)", re.MULTILINE)
_LINE_MAX = 1000
_QUOTED_FIRST = re.compile(r"""[:\-]\s+("[^"]*"|'[^']*')\s*[^\s#,}\]]""")


def check_text(text: str, *, path: str) -> str:
    """`text` as it goes to the parser; raises PipelineFileError if it may not get there."""
    text = text.removeprefix("\ufeff")
    if len(text) > SIZE_BYTES_MAX:
        raise PipelineFileError(path, f"the file has more than {SIZE_BYTES_MAX} bytes")
    unprintable = _UNPRINTABLE_ASCII if text.isascii() else re.compile(_UNPRINTABLE)
    if match := unprintable.search(text):
        reason = f"the character {match.group()!a} may not stand in YAML"
        raise _at(text, match.start(), path).error(
            reason, 'write it as an escape in a text with "double quotes"'
        )
    if match := _LONE_RETURN.search(text):
        raise _at(text, match.start(), path).error("a line ends with a carriage return alone", "use newlines")
    if match := _DIRECTIVE.search(text):
        raise _at(text, match.start(), path).error("a YAML directive (%) cannot be used", "remove the line")
    return _DASH.sub(r'\1"-"', text)


def syntax_error(error: Any, text: str, *, path: str) -> PipelineFileError:
    """What a YAMLError says about `text`, with a hint."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    context = getattr(error, "context", None) or ""
    reason = f"no YAML: {context + ', ' if context else ''}{problem}"
    if mark is None:
        return PipelineFileError(path, reason)
    lines = text.split("\n")
    line = lines[mark.line][:_LINE_MAX] if mark.line < len(lines) else ""
    begun = getattr(error, "context_mark", None)
    start = lines[begun.line][:_LINE_MAX] if begun is not None and begun.line < len(lines) else ""
    hint = _hint(str(problem), str(context), line, line[mark.column : mark.column + 1], start)
    # Where something was never closed, it helps to know where it was opened.
    if begun is not None and begun.line != mark.line:
        hint += f" (begun in line {begun.line + 1})"
    return Place(path, mark.line + 1, mark.column + 1).error(reason, hint)


def _hint(problem: str, context: str, line: str, character: str, start: str) -> str:
    if "\t" in line[: len(line) - len(line.lstrip())] or character == "\t":
        return "indent with spaces, not with tabs"
    if "anchor" in context:
        return "quote a text that begins with '&', and for both of two conditions write 'and'"
    if "alias" in context:
        return "quote a text that begins with '*'"
    if "mapping values are not allowed" in problem:
        return "quote a text that holds ': ', or check the indentation"
    if "flow" in context:
        return "inside {} and [] quote a text that holds any of , : { } [ ] such as '${name}' or 'f(x, y)'"
    if "quoted scalar" in context:
        return f"close the quote that begins in {shown(start.strip())}"
    if "cannot start any token" in problem:
        return f"quote a text that begins with {shown(character)}"
    if "block" in context and _QUOTED_FIRST.search(line):
        return "quote an expression that begins with a quote as a whole, like: 'total' > 5 as \"'total' > 5\""
    return "check the indentation, colons and quotes of this line and the one above"


def _at(text: str, offset: int, path: str) -> Place:
    return Place(path, text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1)
