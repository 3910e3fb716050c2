"""What is logged of a request: enough to find it again at the remote, and nothing that is a secret.

Of an address only its host, its path and those parts of the query are shown that are known to be harmless; of an
upload its host alone, since the rest is a secret for as long as it is valid (push-api.md 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from reconciler.logs import DEBUG, TRACE, tell

_HARMLESS = frozenset(
    {
        *("deleteChildren", "documentId", "fileId", "from", "orderingId", "organizationId", "page", "pageSize"),
        *("perPage", "queueDelay", "recursive", "statusType", "to", "viewAllContent"),
    }
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made: `url` is as it was sent, `secret` whether only its host may be shown."""

    method: str
    url: str
    attempt: int
    secret: bool = False

    @property
    def host(self) -> str:
        """The host, with its port but without a user's name and password."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def path(self) -> str:
        """The path with the harmless part of the query; empty where it is a secret."""
        if self.secret:
            return ""
        parts = urlsplit(self.url)
        pairs = [(name, value) for name, value in parse_qsl(parts.query) if name in _HARMLESS]
        query = "&".join(f"{name}={quote(value, safe=':/')}" for name, value in pairs)
        return f"{parts.path}?{query}" if query else parts.path


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a request after so many seconds: a status and what the remote calls it, or why there is neither."""

    seconds: float
    status: int | None = None
    request_id: str = ""
    failure: str = ""
    size: int = 0


def tell_request(asked: Asked, answered: Answered) -> None:
    """Log a request that is over, as the event `request`."""
    where = asked.path or "an address that is not shown"
    came = answered.failure if answered.status is None else f"HTTP {answered.status}"
    known = f", request {answered.request_id}" if answered.request_id else ""
    again = f", attempt {asked.attempt}" if asked.attempt > 1 else ""
    fields = {"method": asked.method, "host": asked.host, "path": asked.path, "attempt": asked.attempt}
    found = {"status": answered.status, "request_id": answered.request_id, "failure": answered.failure}
    tell(
        "request",
        f"{asked.method} {asked.host} {where}: {came} in {answered.seconds * 1000:,.0f} ms{again}{known}",
        DEBUG,
        **fields,
        seconds=round(answered.seconds, 6),
        **{name: value for name, value in found.items() if value},
    )
    if answered.status is not None:
        tell(
            "answer",
            f"{asked.method} {asked.host}: {answered.size:,} B came back",
            TRACE,
            **fields,
            bytes_received=answered.size,
        )
