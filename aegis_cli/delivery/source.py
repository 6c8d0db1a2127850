"""`Source`: where a runner of commands gets its messages from, and whom it tells what became of them.

A consumer group is one (`group_source`), a subscription is another (`subscription_source`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from aegis_cli.delivery.portion import Portion
from storage.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How the last try ended. `status` is the exit status, negative for a signal.

    `delay_seconds` is how long to wait before the next try.
    """

    status: int
    reason: str
    tries: int
    delay_seconds: float


class Beat(NamedTuple):
    """What others go by: the file that this process beats in, and for how long it may be silent.

    Without a file the source says by `Source.beats` when the time begins anew.
    """

    path: str | None
    timeout_seconds: float


# What became of messages that were given up: they are stored elsewhere, or come again, or there is no place.
GivenUp = Literal["put aside", "comes again", "no place"]


class Source(Protocol):
    """Messages that are this process's for a while. All of it is called from one thread."""

    @property
    def name(self) -> str:
        """The name of the group or of the subscription."""

    @property
    def store_path(self) -> str:
        """Where the store lies."""

    @property
    def beat(self) -> Beat | None:
        """What others go by when they take this process for stopped, if they do."""

    @property
    def beats(self) -> int:
        """How often the time of a `beat` without a file began anew."""

    @property
    def ahead_max(self) -> int:
        """How many portions may be taken beyond those in work."""

    @property
    def retries_itself(self) -> bool:
        """Whether what is given up comes again by itself, so that the runner tries it only once."""

    def take(self) -> Portion | None:
        """The next messages to hand over; `None` where there are none now, or enough are on their way."""

    def done(self, portion: Portion) -> None:
        """The command has exited with 0: `commit` makes it count."""

    def give_up(self, portion: Portion, failure: Failure) -> GivenUp:
        """It is not tried again by the runner."""

    @property
    def unsaid(self) -> bool:
        """Whether `commit` has something to do."""

    def commit(self) -> list[Portion]:
        """Make durable what is done; returns portions that are not this process's any more."""

    def sync(self, *, deaths: bool) -> list[Portion]:
        """Take over what others did; returns portions that are not this process's any more.

        Those that were not begun yet may be among them because somebody else waits for them. `deaths` says
        that a process may have died just now.
        """

    @property
    def has_room(self) -> bool:
        """Whether `take` would take something if there were something."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""

    def watch(self, watch: Watch) -> None:
        """Have `watch` wake for new messages and for what others do."""

    def close(self) -> None:
        """Nothing more is handed over: what was taken and is not done with is for others."""
