"""Become a service: `python -I -S exec_child.py SIGNAL PARENT UID GID COMMAND...` keeps its pid and replaces itself by COMMAND.

A program of its own instead of `preexec_fn`, which may deadlock when the parent has threads. It imports the standard library only and
is run by path, so it needs no installed package. UID or GID of -1 leaves the user as it is. The death signal is set after the user
changed, because the kernel clears it then, and the parent is compared afterwards, because it may have died in between.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Drop privileges, arrange to die with the parent, execute."""
    death_signal, parent, uid, gid = (int(a) for a in arguments[:4])
    command = arguments[4:]
    if gid >= 0:
        os.setgroups([])
        os.setgid(gid)
    if uid >= 0:
        os.setuid(uid)
    os.umask(0o077)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
