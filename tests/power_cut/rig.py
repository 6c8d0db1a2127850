"""Runs a workload under the recorder, once, and explores what was recorded."""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH102, PTH118
from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from tests.power_cut.damage import one_identity
from tests.power_cut.deaths import DEATHS
from tests.power_cut.groups import GROUPS
from tests.power_cut.leftovers import LEFTOVERS
from tests.power_cut.pipelines import PIPELINES
from tests.power_cut.producing import PRODUCING
from tests.power_cut.recorder import recording
from tests.power_cut.stage import Stage, small_sizes
from tests.power_cut.subscriptions import SUBSCRIPTIONS
from tests.power_cut.trace import Trace
from tests.power_cut.workloads import WORKLOADS

ALL = WORKLOADS | DEATHS | LEFTOVERS | SUBSCRIPTIONS | GROUPS | PRODUCING | PIPELINES
# Looks at every state of every moment, which takes some minutes; by default a sample of each moment.
EXHAUSTIVE = os.environ.get("AEGIS_POWER_CUT") == "exhaustive"


@contextmanager
def scratch() -> Iterator[str]:
    """A directory for disks, in memory where there is one."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = tempfile.mkdtemp(prefix="aegis-power-cut-", dir=place)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@functools.cache
def recorded(name: str, *, stays: bool = False) -> Trace:
    """The trace of a workload; `stays` for one in a store that is always found where it was left."""
    with one_identity() if stays else nullcontext(), scratch() as root, small_sizes():
        # Most workloads are not about the making of the store.
        if name != "create":
            os.mkdir(os.path.join(root, "store"))
        with recording(root, on_sync=_overlap if name in ("three_writers", "crowd") else None) as recorder:
            stage = Stage(recorder)
            try:
                ALL[name](stage)
            finally:
                stage.close()
        assert not recorder.unused_hooks, f"never reached: {recorder.unused_hooks}"
    return recorder.trace


def _overlap() -> None:
    """A sync takes its time: others get to append meanwhile."""
    import time

    time.sleep(0.001)
