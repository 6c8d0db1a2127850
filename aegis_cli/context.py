"""`Env`: what a command knows about its surroundings.

Streams, terminals, colour and the place of the store are decided once, here. Commands take an `Env` and look
at neither `sys` nor `os.environ`, so a test can hand them any surroundings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TextIO

import msgspec

from aegis_cli.store_path import default_store_path


class Env(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation's surroundings. `store_path` is absolute or relative to the working directory."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    environ: Mapping[str, str]
    store_path: str
    json: bool = False
    quiet: bool = False
    debug: bool = False

    @property
    def stdin_is_terminal(self) -> bool:
        return self.stdin.isatty()

    @property
    def stdout_is_terminal(self) -> bool:
        return self.stdout.isatty()

    @property
    def stderr_is_terminal(self) -> bool:
        return self.stderr.isatty()


def current_env() -> Env:
    """The surroundings of this process, before any option was read."""
    return Env(
        stdin=sys.stdin,
        stdout=sys.stdout,
        stderr=sys.stderr,
        environ=os.environ,
        store_path=default_store_path(os.environ),
    )


def uses_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether `stream` gets colour: `NO_COLOR`, then `FORCE_COLOR`, then `TERM=dumb`, then the terminal."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()
