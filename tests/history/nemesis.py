"""Who kills, stops and continues the parts of a history, leaves them unread, and sets positions of groups.

What happens to whom and when comes from a seed; what they are doing at that moment does not: a seed repeats
the pressure, not the history.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from tests.history.cast import SESSION_TIMEOUT_SECONDS, Cast
from tests.history.part import Part
from tests.history.witness import Witness
from tests.soak.cast import ROOT

Targets = Literal["everyone", "publishers", "members"]
_STEP_SECONDS = 0.02
_PIPED = ("pipes", "once")
_OF_READERS = ("hang up", "stall")
_RESET_GROUPS = ("pipes", "files")
_RESET_SECONDS = 60.0
_RESETS_MAX = 2
# How often each happens, of all that happens.
_WEIGHTS = {"kill": 10, "short stop": 4, "long stop": 5, "hang up": 3, "stall": 3, "reset": 2}


class Nemesis:
    """`did` counts what it did; `problems` says what it could not do.

    It strikes everyone, or publishers, or members that have joined.
    """

    def __init__(
        self,
        cast: Cast,
        witnesses: Sequence[Witness],
        *,
        seed: int,
        pause_seconds: float = 0.3,
        targets: Targets = "everyone",
    ) -> None:
        self._cast = cast
        self._witnesses = witnesses
        self._of = targets
        self._chance = random.Random(seed)
        self._pause_seconds = pause_seconds
        self._stopped: dict[str, tuple[Part, float]] = {}
        # A reset may wait for a lock whose holder is stopped, and only this lets that one go on.
        self._resets: list[tuple[str, subprocess.Popen[str]]] = []
        self.did: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self, seconds: float) -> None:
        """Work until the time is over; everyone runs then."""
        deadline = time.monotonic() + seconds
        next_blow = 0.0
        while (now := time.monotonic()) < deadline:
            self._look(now)
            if now >= next_blow:
                self._strike(now)
                next_blow = now + self._chance.uniform(0.1, 2) * self._pause_seconds
            time.sleep(_STEP_SECONDS)
        for part, _ in list(self._stopped.values()):
            self._go_on(part)
        for group, process in self._resets:
            self._end_reset(group, process)

    def _look(self, now: float) -> None:
        for part in self._cast.everyone:
            part.look()
        for part, until in list(self._stopped.values()):
            if now >= until:
                self._go_on(part)
        for reset in [each for each in self._resets if each[1].poll() is not None]:
            self._resets.remove(reset)
            self._end_reset(*reset)

    def _go_on(self, part: Part) -> None:
        del self._stopped[part.name]
        part.go_on()

    def _strike(self, now: float) -> None:
        (blow,) = self._chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        part = self._chance.choice(self._cast.everyone)
        if blow == "reset":
            self._reset()
            return
        if blow in _OF_READERS:
            part = self._chance.choice(
                [part for part in self._cast.everyone if part.group in _PIPED] or [part]
            )
        if not self._is_target(part):
            return
        if blow == "kill":
            self._stopped.pop(part.name, None)
            part.kill()
        elif blow in _OF_READERS:
            if part.group not in _PIPED:
                return
            if blow == "hang up":
                part.hang_up()
            else:
                part.readers[-1].be_busy(self._chance.uniform(0.2, 3.0))
        elif part.name not in self._stopped:
            part.stop()
            longest = 0.5 if blow == "short stop" else 2.5
            shortest = 0.001 if blow == "short stop" else SESSION_TIMEOUT_SECONDS * 1.1
            self._stopped[part.name] = (part, now + self._chance.uniform(shortest, longest))
        self.did[blow] += 1

    def _is_target(self, part: Part) -> bool:
        if self._of == "everyone":
            return True
        if self._of == "publishers":
            return part.group is None
        return any(part.processes[-1] in witness.processes() for witness in self._witnesses)

    def _reset(self) -> None:
        there = [group for group in _RESET_GROUPS if group in self._cast.members]
        if not there or len(self._resets) >= _RESETS_MAX:
            return
        self.did["reset"] += 1
        group = self._chance.choice(there)
        where = self._chance.choice((("--by", "-300"), ("--by", "-50"), ("--by", "40"), ("--to", "latest")))
        process = subprocess.Popen(
            self._cast.aegis("group", "reset", group, *where),
            env=self._cast.environment(),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._resets.append((group, process))

    def _end_reset(self, group: str, process: subprocess.Popen[str]) -> None:
        try:
            _, errors = process.communicate(timeout=_RESET_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
        # Before its first member has come there is no group.
        if process.returncode != 0 and f"group '{group}' not found" not in errors:
            self.problems.append(f"reset of {group} ended with {process.returncode}: {errors.strip()}")
