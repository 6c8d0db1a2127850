"""Telling of offsets that cannot be read."""

from __future__ import annotations

from aegis_cli.context import Env
from aegis_cli.output import warn
from storage.reader import Gap


class GapTeller:
    """Warns of each gap that it is called with, and remembers in `damaged` whether one was damage."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self.damaged = False

    def __call__(self, gap: Gap) -> None:
        self.damaged = self.damaged or gap.damage
        where = f"topic '{gap.topic}' partition {gap.partition}"
        offsets = f"offsets {gap.first_offset} to {gap.end_offset - 1}"
        if gap.damage:
            warn(self._env, f"{where}: {offsets} cannot be read: {gap.reason}; run 'aegis store verify'")
        else:
            warn(self._env, f"{where}: {offsets} were {gap.reason} before they were read")
