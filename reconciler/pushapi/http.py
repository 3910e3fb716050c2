"""One HTTP exchange: a request out, a bounded reply or the reason why there is none back.

[io] It follows no redirect, decompresses nothing, reads at most `MAX_REPLY` bytes within the time
given, and lets no httpx exception out: those hold the request, and the request holds the API key.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from reconciler.logs import DEBUG, heard
from reconciler.pushapi.network import Network, Timeouts, Transport
from reconciler.pushapi.telling import Answered, Asked, tell_request

__all__ = ["Http", "Network", "NoReply", "Reply", "Timeouts"]

MAX_REPLY = 1024 * 1024

# httpx logs whole URLs, and that of an upload is a secret for as long as it is valid (push-api.md 2.2).
logging.getLogger("httpx").addFilter(lambda record: record.levelno >= logging.WARNING)

_REQUEST_ID_HEADERS = ("x-request-id", "x-amzn-requestid", "x-amz-request-id", "x-correlation-id")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status; `body` ends after `MAX_REPLY` bytes, and `cut` says that it did."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False

    @property
    def ok(self) -> bool:
        """Whether it says accepted: any 2xx (push-api.md 2.1)."""
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str:
        """The id under which the remote knows the request, or an empty string."""
        for name in _REQUEST_ID_HEADERS:
            if name in self.headers:
                return printable(self.headers[name], 100)
        return ""

    @property
    def foreign(self) -> str:
        """Why an answer that says accepted is none of the API's, which are JSON or nothing at all (push-api.md 2.1).

        Empty when it may be. Gateways and pages that ask people to log in answer 200 to whatever comes.
        """
        if not self.body.strip():
            return ""
        try:
            self._parsed()
        except (ValueError, RecursionError):
            if self.cut:
                return f"the answer goes on after {MAX_REPLY:,} B, the most that is read of one"
            kind = printable(self.headers.get("content-type", ""), 60)
            return f"the answer is not JSON but {kind}" if kind and "json" not in kind else "the answer is not JSON"
        return ""

    @property
    def page(self) -> bool:
        """Whether the body is a page for people."""
        start = self.body[:512].lstrip().lower()
        return start.startswith((b"<!doctype html", b"<html")) or "text/html" in self.headers.get("content-type", "")

    def json(self) -> Any:
        """Return the body as JSON values, or None when it is none. Of a key that comes twice the last one counts."""
        try:
            value = self._parsed()
            if b"\\ud" in self.body.lower() or b"\xed" in self.body:
                # Half a character, as a text cut in its middle ends in, can be neither stored nor printed.
                value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
        return value

    def _parsed(self) -> Any:
        return json.loads(self.body, parse_constant=_no_constant)


class NoReply(Exception):
    """No answer came. `sent` says whether the remote may have received the request."""

    def __init__(self, kind: str, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.sent = sent


class Http:
    """Sends requests with fixed headers, and logs each; safe to use from several threads.

    `secret` says that the addresses are secrets, as those of uploads are.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        transport: httpx.BaseTransport | None = None,
        network: Network | None = None,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        secret: bool = False,
    ) -> None:
        self._secret = secret
        self._timeouts = timeouts or Timeouts()
        self._headers = dict(headers)
        self._clock = clock
        limit = httpx.Timeout(self._timeouts.transfer, connect=self._timeouts.connect)
        way = transport or Transport(network or Network(), self._timeouts)
        self._client = httpx.Client(transport=way, timeout=limit, follow_redirects=False)

    def __repr__(self) -> str:
        return "Http()"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        attempt: int = 1,
    ) -> Reply:
        """Send one request and return its reply. Raises NoReply. `attempt` is logged, no more.

        Only the fixed headers, `headers` and those that HTTP itself needs travel; the URL's path and
        query travel as they are, since a signature may cover every byte of them (push-api.md 8).
        """
        asked = Asked(method, url, attempt, self._secret)
        began = self._clock()
        try:
            # Made by hand: a request built by the client would carry the client's default headers.
            request = httpx.Request(
                method,
                url,
                headers={**self._headers, **(headers or {})},
                content=content,
                extensions={"target": _target(url), "timeout": self._client.timeout.as_dict()},
            )
            response = self._client.send(request, stream=True)
            try:
                body = self._bounded(response, self._clock())
            finally:
                response.close()
            reply = Reply(response.status_code, _headers(response), body, cut=len(body) >= MAX_REPLY)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError) as error:
            failure = _no_reply(error)
        else:
            if heard(DEBUG):
                seconds = self._clock() - began
                tell_request(asked, Answered(seconds, reply.status, self._shown(reply.request_id), size=len(body)))
            return reply
        # Outside the handler: the httpx exception must not stay attached as the context.
        if heard(DEBUG):
            tell_request(asked, Answered(self._clock() - began, failure=self._shown(failure.text)))
        raise failure

    def _shown(self, text: str) -> str:
        """Return what a remote said without the API key, which some services echo."""
        key = self._headers.get("Authorization", "").removeprefix("Bearer ")
        return text.replace(key, "***") if key else text

    def _bounded(self, response: httpx.Response, started: float) -> bytes:
        body = bytearray()
        for piece in _raw(response):
            body += piece
            if len(body) >= MAX_REPLY:
                break
            if self._clock() - started > self._timeouts.reply:
                raise httpx.ReadTimeout("the reply takes too long")
        return bytes(body[:MAX_REPLY])


def api_headers(api_key: str, user_agent: str) -> dict[str, str]:
    """Return the headers of every API request (push-api.md 1.2); `settings` has looked at the key."""
    return {
        "Authorization": f"Bearer {api_key}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": user_agent,
    }


def with_query(url: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Return the URL with these decoded pairs as its query, every reserved character encoded."""
    return f"{url}?{urlencode(pairs, quote_via=quote, safe='')}" if pairs else url


def printable(text: str, length: int) -> str:
    """Return what a remote said as one line of at most `length` characters, without control characters."""
    cleaned = "".join(char if char.isprintable() else " " for char in text[: length * 4])
    cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= length else cleaned[: length - 3] + "..."


def _no_constant(name: str) -> Any:
    # Python reads and writes NaN and Infinity; JSON has neither.
    raise ValueError(f"{name} is not JSON")


def _target(url: str) -> bytes:
    rest = url.partition("://")[2]
    cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    target = rest[cut:].partition("#")[0]
    return (target if target.startswith("/") else f"/{target}").encode("ascii")


def _raw(response: httpx.Response) -> Iterator[bytes]:
    # A transport in a test may have read the body already.
    if response.is_stream_consumed:
        yield response.content
    else:
        yield from response.iter_raw()


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value[:1000] for name, value in response.headers.items()}


def _no_reply(error: Exception) -> NoReply:
    if isinstance(error, httpx.TimeoutException):
        sent = not isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
        return NoReply("timeout", "no answer in time" if sent else "no connection in time", sent=sent)
    if isinstance(error, httpx.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return NoReply("certificate", "the remote's certificate is not one to trust", sent=False)
    if isinstance(error, httpx.ProxyError):
        # As with any status, what the proxy says of us is final and what it says of itself may pass.
        refused = str(error).startswith("4")
        said = f"the proxy {'refuses' if refused else 'fails'}: {printable(str(error), 200)}"
        return NoReply("proxy" if refused else "unreachable", said, sent=False)
    if isinstance(error, httpx.ConnectError):
        return NoReply("unreachable", printable(str(error), 200) or "no connection", sent=False)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError | UnicodeError):
        return NoReply("unusable", "the address or a header cannot be sent", sent=False)
    return NoReply("dropped", "the connection broke before an answer came", sent=True)
