"""Handing messages to a command: its exit status 0 acknowledges them.

Promises:

- A message counts as handled only after the command has exited with 0, or its dead letter is stored; until
  then it is delivered again, to whoever is there.
- Messages of one key are handed over one after the other, in order, however many commands run at once; with
  one command at a time that is so for all messages of a partition. Several at once leave it open in which
  order messages without a key are handed over.
- A command never goes on after this process has died or has lost the right to its messages: it is killed,
  with all that it started and that is still in its process group.
- A signal ends nothing in the middle: what runs may finish, within a limit, and is committed.
"""

from __future__ import annotations

from collections.abc import Callable

from aegis_cli.delivery.child import check_command
from aegis_cli.delivery.exec_options import ExecOptions, Executed
from aegis_cli.delivery.group_source import GroupSource
from aegis_cli.delivery.runner import Runner
from aegis_cli.delivery.source import Source
from aegis_cli.delivery.stop_signals import StopSignals
from storage.member import Member
from storage.reader import Gap
from storage.watch import open_watch

__all__ = ["ExecOptions", "Executed", "consume_exec"]


def consume_exec(
    source: Member | Source,
    options: ExecOptions,
    *,
    follow: bool = False,
    on_notice: Callable[[str], None] | None = None,
    on_gap: Callable[[Gap], None] | None = None,
) -> Executed:
    """Hand the messages of a member that has joined, or of another source, to a command.

    Without `follow` it ends at the end that a member saw when it began; another source knows its own end. In
    the main thread SIGINT and SIGTERM are taken note of, and act when all is put in order. Raises
    `CommandFailedError` when there is no place for what failed, `FileNotFoundError` where there is no such
    command, `TopicNotFoundError`, and `SettingError` for a dead-letter topic that is a source.
    """
    check_command(options.command)
    if isinstance(source, Member):
        source = GroupSource(
            source,
            follow=follow,
            batch=options.batch,
            dead_letter=options.dead_letter,
            on_notice=on_notice,
            on_gap=on_gap,
        )
    watch = open_watch()
    try:
        with StopSignals() as stop:
            done = Runner(source, options, stop, watch, on_notice=on_notice).run()
        stop.act()
        return done
    finally:
        watch.close()
