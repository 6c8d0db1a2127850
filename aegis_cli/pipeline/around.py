"""Who is to be asked and told while a pipeline runs: the callers of a run, which it knows nothing else of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.reload import Reload
from storage.reader import Gap


class Stop(Protocol):
    """Who wants the run to end: `came` is the signal's number once there was one."""

    came: int | None
    fd: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run tells while it goes on."""

    account: Account
    lag: int
    watermark_ms: int
    open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Who is to be asked and told while a pipeline runs."""

    stop: Stop | None = None
    reload: Reload | None = None
    on_gap: Callable[[Gap], None] | None = None
    on_progress: Callable[[Progress], None] | None = None

    @property
    def is_stopped(self) -> bool:
        return self.stop is not None and self.stop.came is not None
