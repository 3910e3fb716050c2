"""Sends calls to the Push and Stream APIs, and says what became of them.

[io] The steps of one call are `pushapi.delivery`; when and how often they are repeated, `pushapi.retry`.
"""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from reconciler import __version__
from reconciler.calls.call import STREAMS, Call
from reconciler.calls.context import WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.calls.wire import Wire
from reconciler.model.states import Resource
from reconciler.pushapi.containers import Depot
from reconciler.pushapi.content import BodySource
from reconciler.pushapi.delivery import Delivery
from reconciler.pushapi.failures import CallFailed
from reconciler.pushapi.http import Http, Network, NoReply, Reply, Timeouts, with_query
from reconciler.pushapi.pace import Pace, Waiting
from reconciler.pushapi.payload import Parcel
from reconciler.pushapi.retry import RetryPolicy
from reconciler.pushapi.session import Progress, Retried, Session

if TYPE_CHECKING:
    import httpx

__all__ = ["Accepted", "CallFailed", "PushClient", "StatusType"]

USER_AGENT = f"reconciler/{__version__}"

MAX_ORDERING_DIGITS = 20  # of an unsigned number of 64 bits (push-api.md 4.5)


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
    that the remote gave, in order. `ordering_id` is the one that the remote chose, where it says so.
    """

    status: int
    request_ids: tuple[str, ...]
    bytes_sent: int
    attempts: int = 1
    ordering_id: int | None = None


class PushClient:
    """A Push API at one base URL, spoken to with one API key; a context manager.

    Safe to use from several threads. `transport` replaces the network for API and storage alike. `sleep` and `proceed`
    are those of a `Session`: what they raise ends the call before its next request.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        network: Network | None = None,
        timeouts: Timeouts | None = None,
        pace: Pace | None = None,
        waiting: Waiting | None = None,
        policy: RetryPolicy | None = None,
        limits: Limits = PUBLISHED,
        user_agent: str = USER_AGENT,
        sleep: Callable[[float], None] = time.sleep,
        proceed: Callable[[], None] = lambda: None,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base = base_url.rstrip("/")
        self._limits = limits
        self._upload_hosts = (network or Network()).upload_hosts
        self._clock = clock
        self._session = Session(
            api_key,
            user_agent=user_agent,
            transport=transport,
            network=network,
            timeouts=timeouts,
            pace=pace,
            waiting=waiting,
            policy=policy,
            sleep=sleep,
            proceed=proceed,
            draw=draw,
            clock=clock,
            now=now,
        )
        # Its own connections, without the API key: storage must never see it (push-api.md 7 no. 15).
        self._storage = Http(
            headers={}, transport=transport, network=network, timeouts=timeouts, clock=clock, secret=True
        )

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
        resources: Sequence[Resource | None],
        bodies: BodySource,
        context: WireContext,
        where: str = "",
        retried: Retried | None = None,
    ) -> Accepted:
        """Send one call until it is accepted, and return what that took.

        `resources` are those of `call.covers` in that order, from `calls.compile.payload_resources`.
        `ordering_id` must be higher than that of every earlier operation on the same resources
        (push-api.md 5.4). `where` names the call in messages, `retried` hears of each
        retry before it is waited for. Raises CallFailed, or ManifestError when a body is not what was
        promised: then the call took no effect.
        """
        progress = Progress(where or f"call {call.number}, {call.method} {call.path}")
        depot = Depot(
            self._session,
            self._storage,
            f"{self._base}/organizations/{quote(context.organization, safe='')}/files",
            self._limits.container_lifetime,
            self._clock,
            self._upload_hosts,
        )
        parcel = Parcel(call, resources, bodies, Wire(context, self._limits))
        with Delivery(depot, self._base, parcel, ordering_id, progress) as delivery:
            reply = self._session.run(delivery.attempt, progress, retried)
        return self._accepted(reply, progress, call)

    def tell(self, path: str, status: StatusType) -> datetime | None:
        """Say what a source is doing (push-api.md 5.5), and return the remote's time if its answer says it.

        `path` is relative to the base and percent-encoded, as in `calls.call.SourceStatus`. Raises CallFailed.
        """
        progress = Progress(f"POST {path}")
        url = with_query(f"{self._base}/{path}", (("statusType", status.value),))
        reply = self._session.run(lambda: self._session.exchange(progress, "call", "POST", url), progress)
        return moment(reply.headers.get("date"))

    def _accepted(self, reply: Reply, progress: Progress, call: Call) -> Accepted:
        ordering_id, request_ids = None, progress.request_ids
        if call.kind in STREAMS:
            ordering_id = _ordering_id(reply)
            value = reply.json()
            found = value.get("requestId") if isinstance(value, dict) else None
            # Streams say in their answer what no header need say (push-api.md 2.5).
            if isinstance(found, str) and found and not reply.request_id:
                request_ids = [*request_ids, self._session.redacted(found, 100)]
        return Accepted(reply.status, tuple(request_ids), progress.bytes_sent, progress.attempts, ordering_id)

    def remote_time(self) -> datetime | None:
        """Return what time it is at the remote, None when nothing says it.

        It asks for nothing and shows no key: any answer tells the time, a refusal as well.
        """
        try:
            return moment(self._storage.exchange("GET", self._base).headers.get("date"))
        except NoReply:
            return None


def moment(value: str | None) -> datetime | None:
    """Return the time that a Date header tells, None for one that tells none."""
    try:
        found = email.utils.parsedate_to_datetime(value) if value else None
    except (ValueError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def _ordering_id(reply: Reply) -> int | None:
    """Return the ordering id that a stream call answers with, a number in a string (push-api.md 2.5)."""
    value = reply.json()
    text = str(value.get("orderingId", "")) if isinstance(value, dict) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_ORDERING_DIGITS else None
