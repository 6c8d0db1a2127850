"""Variables of a pipeline file: `${name}` and `${name:-default}` stand for what `--set name=value` gives.

They are replaced in values, never in keys, and after the YAML was read: a value cannot add keys. `$$` is a
`$`, and a `$` before anything else is itself, so that regular expressions can be written as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.place import Place, shown, suggestion

# All values together may grow to this, whatever is replaced how often.
EXPANDED_CHARACTERS_MAX = 1 << 20

_MARK = re.compile(r"\$(?:\$|\{)")
# A byte of the command line that is no UTF-8 arrives as one of these.
_SURROGATE = re.compile("[\ud800-\udfff]")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Variables:
    """Replaces variables by `settings`, and knows which of these were asked for."""

    def __init__(self, settings: Mapping[str, str], *, path: str) -> None:
        self._settings = settings
        self._path = path
        self._names: set[str] = set()
        self._characters = 0

    def expand(self, text: str, place: Place) -> str:
        """`text`, which stands at `place`, with its variables replaced; raises PipelineFileError."""
        if "$" not in text:
            return text
        parts: list[str] = []
        end = 0
        while mark := _MARK.search(text, end):
            parts.append(text[end : mark.start()])
            if mark.group() == "$$":
                parts.append("$")
                end = mark.end()
                continue
            variable = _VARIABLE.match(text, mark.start())
            if variable is None:
                raise _moved(place, text, mark.start()).error(
                    f"{shown(text[mark.start() : mark.start() + 20])} is not a variable",
                    "write ${name} or ${name:-default}, and $$ for a dollar sign",
                )
            parts.append(self._value(variable, place))
            end = variable.end()
        parts.append(text[end:])
        return "".join(parts)

    def check_all_used(self) -> None:
        """Raises PipelineFileError for a setting that nothing asked for: a slip would go unseen."""
        for name in self._settings:
            if name not in self._names:
                hint = suggestion(name, sorted(self._names)) or "it has no variables"
                raise PipelineFileError(self._path, f"the file has no variable {shown(name)}", hint=hint)

    def _value(self, variable: re.Match[str], place: Place) -> str:
        name = variable[1]
        self._names.add(name)
        value = self._settings.get(name, variable[2])
        if value is None:
            raise _moved(place, variable.string, variable.start()).error(
                f"the variable {shown(name)} has no value",
                f"give --set {shown(name)[1:-1]}=VALUE, or write ${{{shown(name)[1:-1]}:-default}}",
            )
        if _SURROGATE.search(value):
            raise place.error(f"the value of the variable {shown(name)} is no UTF-8")
        self._characters += len(value)
        if self._characters > EXPANDED_CHARACTERS_MAX:
            raise place.error(f"the values of variables have more than {EXPANDED_CHARACTERS_MAX} characters")
        return value


def _moved(place: Place, text: str, offset: int) -> Place:
    """The place of a character of a scalar: exact on its first line, its beginning otherwise."""
    if "\n" in text[:offset]:
        return place
    return Place(place.path, place.line, place.column + offset)
