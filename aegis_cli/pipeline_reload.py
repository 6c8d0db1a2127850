"""SIGHUP as a wish that a pipeline which runs reads its file again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from aegis_cli.context import Env
from aegis_cli.output import note, warn
from aegis_cli.pipeline_progress import clear_line

if TYPE_CHECKING:
    from aegis_cli.pipeline.definition import Definition


class ReloadSignal:
    """Takes SIGHUP within its `with` block, in the main thread; `load` reads the file `name` again.

    When it is the terminal that went, `on_hang_up` is called with the signal instead, and without it the
    signal acts as it would without this.
    """

    def __init__(self, env: Env, name: str, load: Callable[[], Definition]) -> None:
        self.came = False
        self.on_hang_up: Callable[[int], None] | None = None
        self._env = env
        self._name = name
        self._load = load
        self._had_terminal = env.stderr_is_terminal
        self._before: object = None

    def __enter__(self) -> ReloadSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGHUP)
            signal.signal(signal.SIGHUP, self._take)
        return self

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not (self._had_terminal and not os.isatty(self._env.stderr.fileno())):
            self.came = True
        elif self.on_hang_up is not None:
            self.on_hang_up(number)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def load(self) -> Definition:
        """The file as it is now. Raises `PipelineFileError`."""
        self.came = False
        return self._load()

    def accepted(self, changed: Sequence[str]) -> None:
        """Say what changed."""
        clear_line(self._env)
        what = f"reloaded, with another {', '.join(changed)}" if changed else "reloaded, nothing has changed"
        note(self._env, f"{self._name}: {what}")

    def refused(self, reason: str) -> None:
        """Say why it goes on as it was."""
        clear_line(self._env)
        warn(self._env, f"{self._name} was not reloaded: {reason}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGHUP, self._before)  # type: ignore[arg-type]  # it is what `getsignal` gave
