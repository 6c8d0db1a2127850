"""The process `aegis`: from arguments to an exit code.

Everything that goes wrong arrives here and becomes one line on stderr and one exit code (`exits.py`); no
other place prints an error or ends the process. A reader that went away (`aegis consume t | head`) is no
error.

`--version` and the names for TAB are answered before Typer is imported, since they must feel instant. Imports
stay inside `main`, so that Ctrl-C during one of them ends as quietly as at any other time.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from types import FrameType

# Bounded, since children inherit it, and some close all that they could have open.
_OPEN_FILES = 65_536

_sigterm_came: list[bool] = []


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` by default) and return its exit code; it raises nothing."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _open_missing_streams()
        _end_on_sigterm()
        code = _answer(given)
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        # A library that sees a signal end its wait may report each of them as Ctrl-C.
        from aegis_cli.exits import Terminated

        return _report(Terminated() if _sigterm_came else error, debug="--debug" in given)
    except BaseException as error:
        return _report(error, debug="--debug" in given)
    return code


def _answer(arguments: list[str]) -> int:
    """The two answers that do without Typer, or the command."""
    if arguments == ["--version"]:
        from aegis_cli import __version__

        sys.stdout.write(f"aegis {__version__}\n")
        return 0
    if arguments[:1] == ["__complete"]:
        from aegis_cli.complete import complete

        sys.stdout.writelines(f"{name}\n" for name in complete(arguments[1:], os.environ))
        return 0
    _allow_many_files()
    # What the imports make lives as long as the process: looking for garbage among it costs more than a tenth
    # of a start.
    gc.disable()
    from aegis_cli.app import run

    gc.freeze()
    gc.enable()
    code = run(arguments)
    # The interpreter looks once more at its end, when all that is left goes anyway.
    gc.freeze()
    return code


def _allow_many_files() -> None:
    """A topic of a thousand partitions is a few thousand files; the usual limit is 1024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _report(error: BaseException, *, debug: bool) -> int:
    """Say what went wrong on one line, and return the code for it."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    from aegis_cli.exits import ExitCode, describe, exit_code

    code = exit_code(error)
    _flush_or_discard()
    if code in (ExitCode.OK, ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        return code
    try:
        if debug:
            import traceback

            traceback.print_exception(error)
        sys.stderr.write(f"aegis: error: {describe(error)}\n")
        sys.stderr.flush()
    except OSError:
        # Nobody can be told; the exit code still says it.
        pass
    return code


def _flush_or_discard() -> None:
    """Write out what stdout still holds; if that fails, keep the interpreter from trying again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _open_missing_streams() -> None:
    """Fill closed descriptors 0 to 2, so that no file of the store takes their number and gets our output.

    They are opened against their direction: to use one still fails, and says so.
    """
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a descriptor, for the process's life
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Data is UTF-8 whatever the locale says, and a path that is not comes out as it went in.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def _end_on_sigterm() -> None:
    """Let SIGTERM unwind like Ctrl-C, so that what is in hand is finished or undone; a second one kills."""
    import signal

    def handle(number: int, frame: FrameType | None) -> None:
        from aegis_cli.exits import Terminated

        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _sigterm_came.append(True)
        raise Terminated

    # A parent that had us ignore the signal meant it.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, handle)


if __name__ == "__main__":
    sys.exit(main())
