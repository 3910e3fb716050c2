"""What an emulator was sent, for tests and for the curious: bounded in entries and in bytes.

The Authorization header is never part of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(slots=True)
class RequestEntry:
    """One request and the status it was answered with."""

    number: int
    at: float
    method: str
    path: str
    query: list[tuple[str, str]]
    size: int
    body: bytes | None
    container: bytes | None
    status: int
    error: str | None
    fault: str | None = None
    """What was done to the request on demand; its status is 0 when it was dropped unread."""

    def described(self) -> dict[str, Any]:
        """Return the entry as the control endpoint shows it."""
        return {
            "number": self.number,
            "at": self.at,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "size": self.size,
            "body": _json(self.body),
            "container": _json(self.container),
            "status": self.status,
            "error": self.error,
            "fault": self.fault,
        }


def _json(raw: bytes | None) -> Any:
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except ValueError:
        return None


class RequestLog:
    """The last requests; bodies leave before their entries do when there is too much of them."""

    def __init__(self, entries: int, size: int) -> None:
        self._entries: deque[RequestEntry] = deque()
        self._most = entries
        self.limit = size
        self._heavy: deque[RequestEntry] = deque()
        self._bytes = 0
        self.total = 0

    def add(
        self,
        at: float,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        size: int,
        body: bytes | None,
        container: bytes | None,
        status: int,
        error: str | None,
        fault: str | None = None,
    ) -> None:
        """Append a request."""
        self.total += 1
        entry = RequestEntry(self.total, at, method, path, query, size, body, container, status, error, fault)
        self._entries.append(entry)
        weight = len(body or b"") + len(container or b"")
        if weight:
            self._heavy.append(entry)
            self._bytes += weight
        while self._bytes > self.limit and self._heavy:
            self._lighten(self._heavy.popleft())
        while len(self._entries) > self._most:
            oldest = self._entries.popleft()
            self._lighten(oldest)
            if self._heavy and self._heavy[0] is oldest:
                self._heavy.popleft()

    def _lighten(self, entry: RequestEntry) -> None:
        self._bytes -= len(entry.body or b"") + len(entry.container or b"")
        entry.body = entry.container = None

    def entries(self) -> list[RequestEntry]:
        """Return the kept requests, oldest first."""
        return list(self._entries)

    def clear(self) -> None:
        self._entries.clear()
        self._heavy.clear()
        self._bytes = 0
