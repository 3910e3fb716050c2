"""Sends calls to the Push API: single requests, and batches in three steps.

[io] A batch is a container, its upload and the batch that names it (push-api.md 2.1, 2.2). What fails
or expires on the way is begun anew; a batch is never committed unless storage said 2xx.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from reconciler import __version__
from reconciler.calls.call import Call
from reconciler.calls.context import WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.model.states import Resource
from reconciler.pushapi.content import BodySource
from reconciler.pushapi.failures import CallFailed, Failure
from reconciler.pushapi.http import Http, Reply, Timeouts, with_query
from reconciler.pushapi.payload import Payload, batch_payload, single_payload
from reconciler.pushapi.retry import RetryPolicy
from reconciler.pushapi.session import Again, Final, Progress, Retried, Session

if TYPE_CHECKING:
    import httpx

__all__ = ["Accepted", "CallFailed", "PushClient", "StatusType"]

USER_AGENT = f"reconciler/{__version__}"

# A container is not used in its last minutes, since our clock and theirs may differ.
_LIFETIME_MARGIN = 300.0
_MAX_UPLOAD_HEADERS = 32
_CONNECTION_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "authorization", "cookie"}
)


class StatusType(StrEnum):
    """What a source is said to be doing (push-api.md 5.5)."""

    REBUILD = "REBUILD"
    REFRESH = "REFRESH"
    INCREMENTAL = "INCREMENTAL"
    IDLE = "IDLE"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A call that the remote took: which is not yet success (push-api.md 5.1).

    `bytes_sent` counts bodies that were answered, failed attempts included; `request_ids` are those
    that the remote gave, in order.
    """

    status: int
    request_ids: tuple[str, ...]
    bytes_sent: int
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class _Container:
    file_id: str
    upload_uri: str
    headers: Mapping[str, str]
    expires: float


class PushClient:
    """A Push API at one base URL, spoken to with one API key; a context manager.

    Safe to use from several threads. `transport` replaces the network for API and storage alike.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        timeouts: Timeouts | None = None,
        policy: RetryPolicy | None = None,
        limits: Limits = PUBLISHED,
        user_agent: str = USER_AGENT,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base = base_url.rstrip("/")
        self._limits = limits
        self._clock = clock
        self._session = Session(
            api_key,
            user_agent=user_agent,
            transport=transport,
            timeouts=timeouts,
            policy=policy,
            sleep=sleep,
            draw=draw,
            clock=clock,
            now=now,
        )
        # Its own connections, without the API key: storage must never see it (push-api.md 7 no. 15).
        self._storage = Http(headers={}, transport=transport, timeouts=timeouts, clock=clock)

    def __repr__(self) -> str:
        return f"PushClient({self._base!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        self._storage.close()

    def send(
        self,
        call: Call,
        *,
        ordering_id: int,
        resources: Iterable[Resource | None],
        bodies: BodySource,
        context: WireContext,
        where: str = "",
        retried: Retried | None = None,
    ) -> Accepted:
        """Send one call until it is accepted, and return what that took.

        `resources` are those of `call.covers` in that order, from `calls.compile.payload_resources`;
        they are read once. `ordering_id` must be higher than that of every earlier operation on the
        same resources (push-api.md 5.4). `where` names the call in messages, `retried` hears of each
        retry before it is waited for. Raises CallFailed, or ManifestError before anything is sent when
        a body is not what was promised.
        """
        progress = Progress(where or f"call {call.number}, {call.method} {call.path}")
        ordered = ("orderingId", str(ordering_id))
        if not call.is_batch:
            body = single_payload(call, resources, bodies, context)
            url = with_query(f"{self._base}/{call.path}", (*call.query, ordered))
            reply = self._session.run(
                lambda: self._session.exchange(progress, "call", call.method, url, body or None),
                progress,
                retried,
            )
            return _accepted(reply, progress)
        files = f"{self._base}/organizations/{quote(context.organization, safe='')}/files"
        with batch_payload(call, resources, bodies, context) as payload:
            held: list[_Container] = []

            def attempt() -> Reply:
                if held and self._clock() >= held[0].expires:
                    held.clear()
                if not held:
                    held.append(self._filled(progress, files, payload))
                pairs = (*call.query, ("fileId", held[0].file_id), ordered)
                try:
                    return self._session.exchange(
                        progress, "batch", call.method, with_query(f"{self._base}/{call.path}", pairs)
                    )
                except Again as again:
                    # A container that may have been consumed is gone (push-api.md 2.2). Throttled, it
                    # was not looked at.
                    if again.failure.status != 429:
                        held.clear()
                    raise

            return _accepted(self._session.run(attempt, progress, retried), progress)

    def status(self, organization: str, source_id: str, status: StatusType, *, where: str = "") -> Accepted:
        """Say what a source is doing (push-api.md 5.5); cosmetic, without an ordering id. Raises CallFailed."""
        path = f"organizations/{quote(organization, safe='')}/sources/{quote(source_id, safe='')}/status"
        progress = Progress(where or f"POST {path}")
        url = with_query(f"{self._base}/{path}", (("statusType", status.value),))
        reply = self._session.run(lambda: self._session.exchange(progress, "call", "POST", url), progress)
        return _accepted(reply, progress)

    def _filled(self, progress: Progress, files: str, payload: Payload) -> _Container:
        """Return a new container that holds the payload. Raises Again or Final."""
        created = self._session.exchange(progress, "container", "POST", files)
        container = self._container(created)
        headers = {**container.headers, "Content-Length": str(payload.size)}
        try:
            self._session.settle(
                progress,
                "upload",
                lambda: self._storage.exchange("PUT", container.upload_uri, headers=headers, content=payload.pieces()),
                payload.size,
            )
        except Final as error:
            # An expired or damaged address answers 403 like a wrong one (push-api.md 8), and a new
            # container cures the first two: three steps anew, as often as the policy allows.
            if error.failure.status in (400, 403, 404, 412):
                raise Again(error.failure) from None
            raise
        return container

    def _container(self, created: Reply) -> _Container:
        value: Any = created.json()
        if not isinstance(value, dict):
            value = {}
        file_id, upload_uri = value.get("fileId"), value.get("uploadUri")
        headers = value.get("requiredHeaders") or {}
        if not isinstance(file_id, str) or not file_id or not isinstance(upload_uri, str):
            raise Final(
                Failure("container", "bad-reply", message="the answer names no file container (push-api.md 2.2)")
            )
        if not _headers_usable(headers):
            raise Final(
                Failure("container", "bad-reply", message="the answer asks for upload headers that cannot be sent")
            )
        if not _address_usable(upload_uri):
            raise Final(
                Failure(
                    "upload",
                    "upload-address",
                    message="the remote names an upload address that is neither https nor this machine",
                )
            )
        lifetime = max(self._limits.container_lifetime - _LIFETIME_MARGIN, 0.0)
        return _Container(file_id, upload_uri, headers, self._clock() + lifetime)


def _accepted(reply: Reply, progress: Progress) -> Accepted:
    return Accepted(reply.status, tuple(progress.request_ids), progress.bytes_sent, progress.attempts)


def _headers_usable(headers: Any) -> bool:
    return (
        isinstance(headers, dict)
        and len(headers) <= _MAX_UPLOAD_HEADERS
        and all(
            isinstance(value, str) and name.isascii() and value.isascii() and (name + value).isprintable()
            for name, value in headers.items()
        )
        and not {name.lower() for name in headers} & _CONNECTION_HEADERS
    )


def _address_usable(url: str) -> bool:
    """Whether content may go there: https, or http on a loopback address; no user name in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
