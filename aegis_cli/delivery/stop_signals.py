"""SIGINT and SIGTERM as a wish that is asked for: nothing is cut short in the middle.

The first signal only sets `came` and wakes who waits on `fd`; the second acts as it would without this. When
all that was in work is finished, `act` lets the first one act as well.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Holds the signals back within its `with` block, in the main thread; in others it does nothing.

    A signal that this process ignores stays ignored.
    """

    def __init__(self) -> None:
        self.came: int | None = None
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _NUMBERS:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._take)
        return self

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.take(number)

    def take(self, number: int) -> None:
        """Let a signal count as one that came: these, or one that somebody else was sent."""
        self.came = number
        self._restore()
        os.write(self._write_fd, b"!")

    def _restore(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # it is what `getsignal` gave

    def act(self) -> None:
        """Let the signal that came do what it would have done."""
        if self.came is not None:
            signal.raise_signal(self.came)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        os.close(self.fd)
        os.close(self._write_fd)
