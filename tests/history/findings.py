"""What a history turned out to be: counts, and each problem as a sentence of a kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_TOLD_OF_A_KIND = 5


@dataclass
class Findings:
    """No problem means that the history is clean. Of each kind the first few are told in `problems`."""

    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, text: str) -> None:
        """Note a problem, such as `lost`."""
        self.kinds[kind] += 1
        if self.kinds[kind] <= _TOLD_OF_A_KIND:
            self.problems.append(f"{kind}: {text}")

    def count(self, what: str, number: int) -> None:
        """Note how much there was of something."""
        self.counts[what] += number
