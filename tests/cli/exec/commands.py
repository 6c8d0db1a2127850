"""What tests of handing messages to commands share: shell commands that leave notes in a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aegis_cli.delivery.child import command_of
from aegis_cli.delivery.exec import ExecOptions, Executed, consume_exec
from storage.member import Member, open_group
from storage.store import Store


class Commands:
    """Runs shell commands on the messages of topic t, in a directory where they can leave notes."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.directory = directory
        self.notices: list[str] = []

    def run(self, script: str, *, group: str = "g", **options: Any) -> Executed:
        given = ExecOptions(
            command=command_of(f"cd '{self.directory}'; {script}", shell=True),
            **{"backoff_seconds": 0.01, **options},
        )
        with Member(self.store, group, ["t"]) as member:
            return consume_exec(member, given, on_notice=self.notices.append)

    def lines(self, name: str) -> list[str]:
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def positions(self, group: str = "g") -> dict[int, int]:
        _, state = open_group(self.store, group)
        return {place.partition: offset for place, offset in state.positions.items()}


def fill(store: Store, count: int, *, key: str | None = None) -> None:
    for number in range(count):
        store.publish("t", {"n": number}, key=key)
