"""Who runs what, and when: what locks and runs are signed with."""

from __future__ import annotations

import shlex
import sys
import uuid
from datetime import UTC, datetime

from reconciler.state.holder import this_process
from reconciler.state.store import LockInfo


def lock_info(since: str) -> LockInfo:
    """Return what a lock of this process says, under a new id."""
    return this_process(lock_id=uuid.uuid4().hex[:12], command=this_command(), since=since)


def this_command() -> str:
    """Return the command line, which holds no secret: keys are never given there."""
    return shlex.join(["reconciler", *sys.argv[1:]])


def iso(moment: datetime | None = None) -> str:
    """Return a moment, or now, as ISO-8601 text in UTC."""
    moment = moment or datetime.now(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
