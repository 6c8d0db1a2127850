"""What every test relies on."""

from __future__ import annotations

import signal

# A run that was started in the background of a shell may have Ctrl-C ignored, and its children with it: the
# tests that send it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# And one that was started by nohup has SIGHUP ignored.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
