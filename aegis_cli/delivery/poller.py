"""Waiting for everything at once: for children, for new messages and what happens in the group, for a signal.

Nothing is looked at in turns where the system tells; where it does not (a watch without a descriptor, a child
whose end is no event), the looks are a few hundredths of a second apart while a child runs.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable

from aegis_cli.delivery.child import Child
from storage.watch import Watch

_LOOK_SECONDS = 0.02
# A watch without a descriptor does not see a signal: this is how long one may take to be noticed.
_DEAF_SECONDS = 0.25


class Poller:
    """Waits on a watch, on the descriptor that tells of a signal, and on the children it is given."""

    def __init__(self, watch: Watch, stop_fd: int) -> None:
        self._watch = watch
        self._watch_fd: int = getattr(watch, "fd", -1)
        self._stop_fd = stop_fd
        # Whether files may have come or gone since this was last set to `False`.
        self.moved = False

    def wait(self, children: Iterable[Child], *, timeout_seconds: float, watching: bool) -> bool:
        """Wait until something happens, and let the children go on with what is ready.

        Unless `watching`, changes of the watch are left for later. Says whether there was such a change.
        """
        poll = select.poll()
        of_fd: dict[int, Child] = {}
        everyone = list(children)
        looking = [child for child in everyone if child.needs_looks]
        for child in everyone:
            for fd in child.register(poll):
                of_fd[fd] = child
        poll.register(self._stop_fd, select.POLLIN)
        deaf = watching and self._watch_fd < 0
        if deaf and not everyone:
            return self._look_at_watch(min(timeout_seconds, _DEAF_SECONDS))
        if watching and not deaf:
            poll.register(self._watch_fd, select.POLLIN)
        if looking or deaf:
            timeout_seconds = min(timeout_seconds, _LOOK_SECONDS)
        ready = {fd for fd, _ in poll.poll(max(0.0, timeout_seconds) * 1000)}
        for fd in ready & of_fd.keys():
            of_fd[fd].handle(fd)
        for child in looking:
            child.look()
        now = time.monotonic()
        for child in everyone:
            child.check_time(now)
        if deaf or self._watch_fd in ready:
            return self._look_at_watch(0.0)
        return False

    def _look_at_watch(self, timeout_seconds: float) -> bool:
        self.moved = self._watch.wait(timeout_seconds) or self.moved
        return True
