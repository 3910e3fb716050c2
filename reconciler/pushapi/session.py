"""An authorized session with retries, which the client and the reader share.

[io] It turns answers into failures, redacts the API key in whatever the remote says, and decides
with `pushapi.retry` whether to try again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from reconciler.problems import ReconcilerError
from reconciler.pushapi.failures import Effort, Failure, Outcome, Step, call_failed, error_body
from reconciler.pushapi.http import Http, Network, NoReply, Reply, Timeouts, api_headers, printable
from reconciler.pushapi.pace import OutOfTurn, Pace, Waiting
from reconciler.pushapi.retry import RetryPolicy, Transient, retry_after, retryable, run_with_retries

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

Retried = Callable[[int, float, str], None]
"""Hears of a retry before it is waited for: the number of the attempt to come, seconds, the reason."""

# A shorter pause is over before anybody has read of it.
_WORTH_A_DATE = 60.0

JSON = {"Content-Type": "application/json"}


class Again(Transient):
    """An attempt failed and may be repeated."""

    def __init__(self, failure: Failure, asked: float | None = None) -> None:
        super().__init__(asked)
        self.failure = failure


class Final(Exception):
    """An attempt failed for good."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


@dataclass(slots=True)
class Progress:
    """What the attempts of one call came to so far; `paused` seconds were waiting for its turn."""

    where: str
    attempts: int = 0
    bytes_sent: int = 0
    paused: float = 0.0
    outcome: Outcome = "refused"
    request_ids: list[str] = field(default_factory=list)


class Session:
    """Exchanges with one organization's APIs under one key; safe to use from several threads.

    Every attempt is a call for the `pace`, which several sessions may share; `waiting` hears of the
    longer waits for it. `sleep` is what all waits go through: what it raises ends them. `proceed` is called before
    each request: what it raises keeps that one from being sent.
    """

    def __init__(
        self,
        api_key: str,
        *,
        user_agent: str,
        transport: httpx.BaseTransport | None = None,
        network: Network | None = None,
        timeouts: Timeouts | None = None,
        pace: Pace | None = None,
        waiting: Waiting | None = None,
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        proceed: Callable[[], None] = lambda: None,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api_key = api_key
        self._http = Http(
            headers=api_headers(api_key, user_agent),
            transport=transport,
            network=network,
            timeouts=timeouts,
            clock=clock,
        )
        self._pace = pace
        self._waiting = waiting
        self._policy = policy or RetryPolicy()
        self._sleep = sleep
        self._proceed = proceed
        self._draw = draw
        self._clock = clock
        self._now = now

    def __repr__(self) -> str:
        return "Session()"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, attempt: Callable[[], T], progress: Progress, retried: Retried | None = None) -> T:
        """Return what `attempt` returns, repeating it while it raises Again. Raises CallFailed.

        Any other ReconcilerError that ends it leaves with the outcome of the attempts so far.
        """
        started = self._clock()
        failure: Failure | None = None

        def counted() -> T:
            progress.attempts += 1
            return attempt()

        def noticed(number: int, wait: float, error: Transient) -> None:
            if retried is not None and isinstance(error, Again):
                retried(number, wait, error.failure.text)

        try:
            return run_with_retries(
                counted,
                policy=self._policy,
                sleep=self._sleep,
                draw=self._draw,
                noticed=noticed,
                paused=lambda: progress.paused,
            )
        except (Again, Final) as error:
            failure = error.failure
        except ReconcilerError as error:
            # An earlier attempt may have been taken, whatever keeps us from another one.
            error.outcome = progress.outcome
            raise
        effort = Effort(progress.attempts, self._clock() - started)
        earlier = progress.request_ids[-1] if progress.request_ids else ""
        raise call_failed(failure, where=progress.where, outcome=progress.outcome, effort=effort, earlier=earlier)

    def exchange(
        self,
        progress: Progress,
        step: Step,
        method: str,
        url: str,
        content: bytes | None = None,
    ) -> Reply:
        """Make one authorized request with an optional JSON body. Raises Again or Final unless it is 2xx.

        The steps `call` and `batch` decide the outcome: from the moment when the remote may have
        taken one, the outcome of the whole call is unknown, whatever later attempts say. It waits for
        its turn first; an upload to storage is no call and needs none (push-api.md 4.2).
        """
        self._take_turn(progress, step)
        try:
            return self.settle(
                progress,
                step,
                lambda: self._http.exchange(
                    method, url, headers=JSON if content else {}, content=content, attempt=progress.attempts
                ),
                len(content) if content else 0,
            )
        except Again as again:
            asked = again.retry_after or 0.0
            # What is longer than the deadline nobody waits for; the others are told so themselves.
            if self._pace is not None and again.failure.status == 429 and 0 < asked <= self._policy.deadline:
                self._pace.hold(asked)
            raise

    def _take_turn(self, progress: Progress, step: Step) -> None:
        if self._pace is None:
            return
        try:
            progress.paused += self._pace.take_turn(self._sleep, self._waiting)
        except OutOfTurn as error:
            moment = self._now() + timedelta(seconds=error.seconds)
            raise Final(Failure(step, "out-of-turn", message=str(error), not_before=moment)) from None

    def settle(self, progress: Progress, step: Step, send: Callable[[], Reply], size: int) -> Reply:
        """Run one exchange and judge its reply. Raises Again or Final unless it is 2xx."""
        self._proceed()
        failure: Failure
        try:
            reply = send()
        except NoReply as error:
            failure = Failure(step, error.kind, message=self.redacted(error.text))
            sent, passing = error.sent, error.kind not in ("unusable", "certificate", "proxy")
        else:
            progress.bytes_sent += size
            if reply.request_id:
                progress.request_ids.append(self.redacted(reply.request_id, 100))
            if reply.ok:
                self._refuse_foreign(progress, step, reply)
                return reply
            failure = self._refusal(step, reply)
            # Gateways have statuses of their own for a server that does not answer them, 520 to 527 for instance.
            if not 300 <= reply.status < 500 and step in ("call", "batch"):
                progress.outcome = "unknown"
            if not retryable(reply.status):
                raise Final(failure)
            asked = retry_after(reply.headers.get("retry-after"), self._now())
            if asked is not None and asked >= _WORTH_A_DATE:
                failure = replace(failure, not_before=self._now() + timedelta(seconds=asked))
            raise Again(failure, asked)
        if sent and step in ("call", "batch"):
            progress.outcome = "unknown"
        if not passing:
            raise Final(failure)
        raise Again(failure)

    def _refuse_foreign(self, progress: Progress, step: Step, reply: Reply) -> None:
        """Raise Final for an answer that says accepted and that neither the API nor storage gave."""
        if step == "upload":
            # What else storage says is its own affair: it is documented to be nothing (push-api.md 2.1).
            said = "a page for people answers in place of the storage" if reply.page else ""
        else:
            said = reply.foreign
        if said:
            if step in ("call", "batch"):
                progress.outcome = "unknown"
            request = self.redacted(reply.request_id, 100)
            raise Final(Failure(step, "bad-reply", message=self.redacted(said), request_id=request))

    def redacted(self, text: str, length: int = 300) -> str:
        """Return a remote's text, made printable, without the API key: some services echo it."""
        return printable(text.replace(self._api_key, "***"), length)

    def _refusal(self, step: Step, reply: Reply) -> Failure:
        code, message = error_body(reply.json())
        if not message and step == "upload":
            message = _storage_message(reply.body)
        return Failure(
            step,
            "status",
            reply.status,
            self.redacted(code, 60),
            self.redacted(message),
            self.redacted(reply.request_id, 100),
        )


def _storage_message(body: bytes) -> str:
    """Return the code and the message of a storage error's XML (push-api.md 8), found without a parser."""
    text = body[:4096].decode("utf-8", "replace")
    parts = []
    for tag in ("Code", "Message"):
        start, end = text.find(f"<{tag}>"), text.find(f"</{tag}>")
        if 0 <= start < end:
            parts.append(text[start + len(tag) + 2 : end])
    return ": ".join(parts)
