"""[io] Who this process is, for locks and for the history of runs.

Modules that only a writer needs are imported when asked for: a plan starts without them.
"""

from __future__ import annotations

import os

from reconciler.state.store import LockInfo


def this_process(*, lock_id: str, command: str, since: str) -> LockInfo:
    """Return who this process is; `command` must hold no secret, since others are shown it."""
    return LockInfo(id=lock_id, command=command, since=since, host=host_name(), user=user_name(), pid=os.getpid())


def host_name() -> str:
    """Return the name of this machine."""
    import socket

    return socket.gethostname()


def user_name() -> str:
    """Return the login name, or `uid N` in a container whose user has none."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else ""


def is_dead(holder: LockInfo) -> bool:
    """Return whether the holder is known to be dead: only ever true of a process of this machine."""
    if os.name != "posix" or holder.host != host_name() or holder.pid <= 0:
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
