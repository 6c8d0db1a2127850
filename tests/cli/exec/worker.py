"""A process that hands messages of a group to a command: `python -m tests.cli.exec.worker STORE GROUP JSON`.

The JSON object holds the fields of `ExecOptions`, `topics`, and if need be `follow` and
`session_timeout_seconds`. It prints what came of it as JSON, and notices on stderr.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from types import FrameType

from aegis_cli.delivery.exec import ExecOptions, consume_exec
from storage.member import Member
from storage.store import Store


def main(path: str, group: str, text: str) -> None:
    fields = json.loads(text)
    topics = fields.pop("topics")
    follow = fields.pop("follow", False)
    timeout_seconds = fields.pop("session_timeout_seconds", 10.0)

    def tell(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    with (
        Store(path) as store,
        Member(store, group, topics, session_timeout_seconds=timeout_seconds) as member,
    ):
        done = consume_exec(member, ExecOptions(**fields), follow=follow, on_notice=tell)
    sys.stdout.write(json.dumps(dataclasses.asdict(done)) + "\n")


def end(number: int, frame: FrameType | None) -> None:
    """Unwind, as the command line does."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, end)
    main(*sys.argv[1:])
