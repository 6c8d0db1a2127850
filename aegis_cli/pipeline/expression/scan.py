"""The first look at an expression's text: its words, before Python's parser sees it.

It holds the limits that keep the parser quick and safe (length, number of words, nesting), and it knows what
people write who think of another language: `=`, `&&`, `between`, `LIKE`. What passes consists of words that
expressions have, in brackets that match, without two values side by side.
"""

from __future__ import annotations

import keyword
import re
import unicodedata

from msgspec import Struct

from aegis_cli.pipeline.definition import Text
from aegis_cli.pipeline.errors import ExpressionError
from aegis_cli.pipeline.expression.tree import error_at

LENGTH_MAX = 4096
WORDS_MAX = 2000
DEPTH_MAX = 50

# Quantifiers are possessive where two of them could share characters: no text takes more than linear time.
_WORD = re.compile(
    r"""(?P<space>[ \t\r\n]++)
    |(?P<text>(?P<prefix>[A-Za-z]{0,2})(?:"(?:[^"\\\r\n]|\\[^\r\n])*+"|'(?:[^'\\\r\n]|\\[^\r\n])*+'))
    |(?P<number>0[xXoObB][0-9A-Fa-f_]++|(?:[0-9][0-9_]*+(?:\.[0-9_]*+)?|\.[0-9][0-9_]*+)(?:[eE][+-]?[0-9_]++)?)
    |(?P<name>[^\W\d]\w*+)
    |(?P<sign>===|!==|==|!=|<=|>=|<>|=~|<<|>>|&&|\|\||\*\*|//|->|=>|:=|::|\?\?|.)""",
    re.VERBOSE,
)
_BAD_ESCAPE = re.compile(r"""(?:[^\\]|\\[\n\\'"abfnrtv0xNuU])*+(\\.)""")
_SIGNS = frozenset(
    ["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "//", "%", "(", ")", "[", "]", ",", "."]
)
_WORDS = frozenset(["and", "or", "not", "in", "is", "if", "else", "None", "True", "False"])
_VALUES = frozenset(["None", "True", "False"])
_PAIRS = {"(": ")", "[": "]"}

_SIGN_HINTS = {
    "=": "write '==' to compare",
    "===": "write '=='",
    "!==": "write '!='",
    "<>": "write '!='",
    "=~": 'write matches(text, "pattern")',
    "&&": "write 'and'",
    "&": "write 'and'",
    "||": "write 'or', or '+' to join texts",
    "|": "write 'or'",
    "!": "write 'not'",
    "~": "write 'not'",
    "**": "write pow(a, b)",
    "^": "write pow(a, b)",
    "?": "write 'a if test else b'",
    ":": "write 'a if test else b' to choose, substr(text, start, length) for a part",
    "??": "write coalesce(a, b)",
    "::": "write int(a), float(a), text(a) or bool(a)",
    "{": "a map makes objects, field by field",
    "#": "comments stand outside of expressions",
    "`": 'write field("name")',
    "$": "write a field's name as it is",
    "\u201c": "write straight quotes",
    "\u201d": "write straight quotes",
    "\u2018": "write straight quotes",
    "\u2019": "write straight quotes",
}
_NAME_HINTS = {
    "and": "write 'and'",
    "or": "write 'or'",
    "not": "write 'not'",
    "in": "write 'in'",
    "is": "write 'is None' or 'is not None'",
    "null": "write 'is None' or 'is not None'",
    "xor": "write 'a != b'",
    "eq": "write '=='",
    "between": "write 'low <= value <= high'",
    "like": "write starts_with, ends_with, contains or matches",
    "ilike": 'write contains(lower(text), "part")',
    "rlike": 'write matches(text, "pattern")',
    "regexp": 'write matches(text, "pattern")',
    "div": "write '//'",
    "mod": "write '%'",
    "case": "write 'a if test else b'",
    "when": "write 'a if test else b'",
    "then": "write 'a if test else b'",
    "elif": "write 'a if test else b if test2 else c'",
    "isnull": "write 'is None'",
    "notnull": "write 'is not None'",
    "interval": "times are numbers of milliseconds",
}


class Word(Struct, frozen=True):
    """One word; `kind` is 'text', 'number', 'name', 'keyword' or 'sign'."""

    kind: str
    text: str
    place: int

    @property
    def is_value_begin(self) -> bool:
        """Whether a value can begin here."""
        return self.kind in ("text", "number", "name") or self.text in _VALUES or self.text in ("(", "[")

    @property
    def is_value_end(self) -> bool:
        """Whether a value can end here."""
        return self.kind in ("text", "number", "name") or self.text in _VALUES or self.text in (")", "]")


class _Scan:
    def __init__(self, text: Text, path: str) -> None:
        self.source = text
        self.text = text.text
        self.path = path
        self.words: list[Word] = []
        self.open: list[Word] = []
        # How many signs of 'not' and minus wait for their value, outside of each open bracket and now.
        self.outer_signs: list[int] = []
        self.signs = 0

    def error(self, place: int, reason: str, hint: str = "") -> ExpressionError:
        return error_at(self.source, self.path, place, reason, hint=hint)

    def run(self) -> list[Word]:
        if len(self.text) > LENGTH_MAX:
            raise self.error(0, f"an expression of {len(self.text)} characters", f"the limit is {LENGTH_MAX}")
        place = 0
        while place < len(self.text):
            match = _WORD.match(self.text, place)
            if match is None or match.lastgroup is None:
                raise self.error(place, "this character cannot be used in an expression")
            if match.lastgroup != "space":
                self.take(Word(match.lastgroup, match[0], place), match)
            place = match.end()
        self.finish()
        return self.words

    def take(self, word: Word, match: re.Match[str]) -> None:
        if word.kind == "name":
            word = self.name(word)
        elif word.kind == "text":
            self.check_text(word, match["prefix"])
        elif word.kind == "number":
            self.check_number(word, match.end())
        elif word.text not in _SIGNS:
            self.refuse_sign(word)
        self.check_before(word)
        self.words.append(word)
        if len(self.words) > WORDS_MAX:
            raise self.error(
                word.place, f"an expression of more than {WORDS_MAX} words", "divide it over two maps"
            )
        self.nest(word)

    def name(self, word: Word) -> Word:
        text = word.text
        if not text.isascii() and unicodedata.normalize("NFKC", text) != text:
            raise self.error(word.place, f"the name '{text}' has two spellings", f'write field("{text}")')
        if not keyword.iskeyword(text):
            return word
        if text in _WORDS:
            return Word("keyword", text, word.place)
        hint = _NAME_HINTS.get(text) or f'write field("{text}"), or a["{text}"], for a field of this name'
        raise self.error(word.place, f"'{text}' cannot be used in an expression", hint)

    def check_text(self, word: Word, prefix: str) -> None:
        raw = prefix in ("r", "R")
        if prefix and not raw:
            raise self.error(
                word.place, f"a text cannot begin with '{prefix}'", "write it without, or with 'r'"
            )
        if word.text.startswith(('"""', "'''")) or self.text.startswith(
            word.text[-1], word.place + len(word.text)
        ):
            raise self.error(word.place, "a text cannot stand in triple quotes", "write one quote")
        if "\0" in word.text:
            raise self.error(word.place + word.text.index("\0"), "this character has no sign", "write \\x00")
        bad = None if raw else _BAD_ESCAPE.match(word.text)
        if bad is not None:
            hint = f"write r{word.text}, or two backslashes"
            raise self.error(word.place + bad.start(1), f"'{bad[1]}' means nothing in a text", hint)

    def check_number(self, word: Word, end: int) -> None:
        # An underscore was taken for a part of the number.
        if self.text[end : end + 1].isalnum():
            raise self.error(
                word.place, "a number runs into a name", "write a space, or a quote around a text"
            )

    def refuse_sign(self, word: Word) -> None:
        if word.text in ('"', "'"):
            hint = "a text ends on the line on which it begins, with the quote that began it"
            raise self.error(word.place, f"this {word.text} has no counterpart", hint)
        shown = word.text if word.text.isprintable() else f"\\u{ord(word.text):04x}"
        raise self.error(
            word.place, f"'{shown}' cannot be used in an expression", _SIGN_HINTS.get(word.text, "")
        )

    def check_before(self, word: Word) -> None:
        """Refuse two values side by side, which is where most words of other languages show."""
        before = self.words[-1] if self.words else None
        if before is None or not before.is_value_end or not word.is_value_begin:
            return
        if word.text in ("(", "[") and before.kind != "number" and before.text not in _VALUES:
            return
        for candidate in (word, before):
            hint = _NAME_HINTS.get(candidate.text.lower()) if candidate.kind == "name" else None
            if hint is not None:
                raise self.error(candidate.place, f"'{candidate.text}' is no operator of expressions", hint)
        reason = f"an operator is missing between '{_shown(before)}' and '{_shown(word)}'"
        raise self.error(word.place, reason, _operator_hint(before, word))

    def nest(self, word: Word) -> None:
        if word.text in _PAIRS:
            self.open.append(word)
            self.outer_signs.append(self.signs)
            self.signs = 0
        elif word.text in (")", "]"):
            if not self.open or _PAIRS[self.open[-1].text] != word.text:
                raise self.error(word.place, f"'{word.text}' closes nothing")
            self.open.pop()
            self.outer_signs.pop()
            self.signs = 0
        elif word.text in ("not", "-", "+"):
            self.signs += not (len(self.words) > 1 and self.words[-2].is_value_end)
        elif word.is_value_end:
            self.signs = 0
        if len(self.open) + sum(self.outer_signs) + self.signs > DEPTH_MAX:
            raise self.error(word.place, f"nested deeper than {DEPTH_MAX}", "divide it over two maps")

    def finish(self) -> None:
        if not self.words:
            raise self.error(0, "an expression is missing")
        if self.open:
            raise self.error(self.open[-1].place, f"'{self.open[-1].text}' is never closed")
        last = self.words[-1]
        if not last.is_value_end:
            raise self.error(
                last.place, f"the expression ends after '{last.text}'", "something is missing there"
            )


def _shown(word: Word) -> str:
    return word.text if len(word.text) <= 20 else f"{word.text[:19]}…"


def _operator_hint(before: Word, word: Word) -> str:
    import difflib

    for candidate in (word, before):
        if candidate.kind == "name":
            near = difflib.get_close_matches(
                candidate.text.lower(), ["and", "or", "not", "in", "is", "if"], 1, 0.6
            )
            if near:
                return f"did you mean '{near[0]}'?"
    return ""


def scan(text: Text, path: str) -> list[Word]:
    """The words of an expression. Raises ExpressionError for what no expression can hold."""
    return _Scan(text, path).run()
