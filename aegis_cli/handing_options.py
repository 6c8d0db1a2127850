"""The options of `consume` that say who shares the messages, what is promised, and who handles them."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

from aegis_cli.exits import UsageError

DELIVERIES = ("at-most-once", "at-least-once", "exactly-once")
_COUNT_MAX = 1_000_000

GroupOption = Annotated[
    str | None, typer.Option("-g", "--group", metavar="NAME", help="Share the messages with this group.")
]
SubscriptionOption = Annotated[
    str | None,
    typer.Option("--subscription", metavar="NAME", help="Take records of this subscription, one by one."),
]
DeliveryOption = Annotated[
    str | None,
    typer.Option(
        "--delivery", metavar="HOW", help="at-most-once, at-least-once or exactly-once; in a group."
    ),
]
MaxInFlightOption = Annotated[
    int | None,
    typer.Option("--max-in-flight", metavar="N", help="Hand over at most N records that are not committed."),
]
OutputFileOption = Annotated[
    str | None, typer.Option("--output-file", metavar="FILE", help="Write to this file, exactly once.")
]
ExecOption = Annotated[
    str | None,
    typer.Option("--exec", metavar="CMD", help="Run CMD for each record; exit status 0 acknowledges it."),
]
ShellOption = Annotated[bool, typer.Option("--shell", help="Let a shell read the CMD of --exec.")]
ParallelOption = Annotated[
    int | None, typer.Option("--parallel", metavar="N", help="Run N commands at once.")
]
BatchOption = Annotated[int | None, typer.Option("--batch", metavar="N", help="Give a run up to N records.")]
RetriesOption = Annotated[
    int | None, typer.Option("--retries", metavar="N", help="Repeat a failed run N times; default 3.")
]
BackoffOption = Annotated[
    str | None,
    typer.Option("--backoff", metavar="TIME", help="Wait before a repetition, then longer."),
]
DeadLetterOption = Annotated[
    str | None, typer.Option("--dead-letter", metavar="TOPIC", help="Where records go that failed too often.")
]
RunTimeoutOption = Annotated[
    str | None, typer.Option("--timeout", metavar="TIME", help="Kill a run that takes longer.")
]
AckTimeoutOption = Annotated[
    str | None,
    typer.Option("--ack-timeout", metavar="TIME", help="Deliver again what is not acknowledged so long."),
]
MaxDeliveriesOption = Annotated[
    int | None,
    typer.Option("--max-deliveries", metavar="N", help="Park a record that was delivered N times."),
]


class Handing(NamedTuple):
    """What a command line says about sharing and handling; `None` where it says nothing."""

    group: str | None
    subscription: str | None
    delivery: str | None
    max_in_flight: int | None
    output_file: str | None
    exec: str | None
    shell: bool
    parallel: int | None
    batch: int | None
    retries: int | None
    backoff: str | None
    dead_letter: str | None
    timeout: str | None
    ack_timeout: str | None
    max_deliveries: int | None

    @property
    def is_shared(self) -> bool:
        """Whether the messages are shared with others at all."""
        return self.group is not None or self.subscription is not None

    def check(self) -> None:
        """Raise `UsageError` for what cannot be promised or makes no sense."""
        self._check_sharing()
        for name, value in (
            ("--max-in-flight", self.max_in_flight),
            ("--parallel", self.parallel),
            ("--batch", self.batch),
            ("--max-deliveries", self.max_deliveries),
        ):
            if value is not None and not 1 <= value <= _COUNT_MAX:
                raise UsageError(f"{name} is {value}; use 1 to {_COUNT_MAX}")
        if self.retries is not None and not 0 <= self.retries <= _COUNT_MAX:
            raise UsageError(f"--retries is {self.retries}; use 0 to {_COUNT_MAX}")
        self._check_promises()

    def _check_sharing(self) -> None:
        if self.group is not None and self.subscription is not None:
            raise UsageError("--group and --subscription exclude each other; give one of them")
        if not self.is_shared:
            for name, given in self._given():
                raise UsageError(f"{name} is for the members of a {given}; add --{given} NAME")
        if self.exec is None:
            for name in ("shell", "parallel", "batch", "retries", "backoff", "timeout"):
                if getattr(self, name):
                    raise UsageError(f"--{name} is for --exec; add it, or leave this out")
            if self.dead_letter is not None and self.subscription is None:
                raise UsageError("--dead-letter is for --exec and --subscription; add one of them")
        if self.subscription is None and (self.ack_timeout or self.max_deliveries):
            raise UsageError("--ack-timeout and --max-deliveries are for --subscription; add it")

    def _given(self) -> list[tuple[str, str]]:
        """The options that were given although nothing is shared, with what each is for."""
        of_subscriptions = {"ack_timeout", "max_deliveries"}
        return [
            (f"--{name.replace('_', '-')}", "subscription" if name in of_subscriptions else "group")
            for name, value in self._asdict().items()
            if value is not None and value is not False
        ]

    def _check_promises(self) -> None:
        if self.delivery is not None and self.delivery not in DELIVERIES:
            raise UsageError(f"--delivery is '{self.delivery}'; use {', '.join(DELIVERIES)}")
        if self.subscription is not None and (self.delivery or self.output_file):
            raise UsageError("a subscription delivers at least once; leave out --delivery and --output-file")
        if self.exec is not None and (self.output_file or self.delivery in ("exactly-once", "at-most-once")):
            raise UsageError(
                "a command is run at least once; leave out --delivery and --output-file, or publish what "
                "comes of the messages with 'aegis pipe'"
            )
        if self.delivery == "exactly-once" and self.output_file is None:
            raise UsageError(
                "nobody can write to a pipe exactly once; name an --output-file, or publish what comes of "
                "the messages with 'aegis pipe'"
            )
        if self.output_file is not None and self.delivery != "exactly-once":
            raise UsageError("--output-file is written exactly once; add --delivery exactly-once, or use '>'")
