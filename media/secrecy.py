"""What keeps a process's memory to itself: a worker holds the keys of its calls."""

import contextlib
import ctypes
import resource

_PR_SET_DUMPABLE = 4  # prctl(2)


def keep_memory_private() -> None:
    """Leave no core file behind, hand none to a program that collects them, and let no other
    process of our user look in (ptrace, /proc/PID/mem)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A limit of 0 does not hold where cores are piped to a program; this does.
    with contextlib.suppress(AttributeError):  # there is no prctl outside of Linux
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
