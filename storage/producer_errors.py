"""The errors of producers. See `storage.producer`.

ConflictError
├── ProducerInUseError     another run of it is at work
├── ProducerFencedError    another run has taken over
└── InputChangedError      the input is not the one that it published
"""

from __future__ import annotations

from storage.errors import ConflictError


class ProducerInUseError(ConflictError):
    """Another run of the producer holds its lock; `holder` says in words which process that is."""

    def __init__(self, name: str, holder: str) -> None:
        self.name = name
        self.holder = holder
        super().__init__(
            f"producer '{name}' is at work in {holder}; wait for that process or end it, or use another name"
        )


class ProducerFencedError(ConflictError):
    """Another run of the producer began since this one did, which can publish nothing any more."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"another run of producer '{name}' has taken over from this one, which ends here; "
            "the lines that it has not published are the other's"
        )


class InputChangedError(ConflictError):
    """The input does not begin with the lines that the producer has published.

    `published_lines` is how many those are; `lines` how many the input has, if those are fewer.
    """

    def __init__(self, name: str, topic: str, *, published_lines: int, lines: int | None = None) -> None:
        self.name = name
        self.topic = topic
        self.published_lines = published_lines
        self.lines = lines
        count = f"{published_lines} {'line' if published_lines == 1 else 'lines'}"
        what = (
            f"the input does not begin with the {count} that producer '{name}' has published to '{topic}'"
            if lines is None
            else f"the input has {lines} {'line' if lines == 1 else 'lines'}, "
            f"but producer '{name}' has published {count} to '{topic}'"
        )
        super().__init__(f"{what}; give it the same input from its start, or use another name")
