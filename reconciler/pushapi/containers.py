"""File containers: asked for, filled, and good for an hour (push-api.md 2.2, 8).

[io] Storage never sees the API key: it has connections of its own, and content goes to https
addresses or to this machine only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from reconciler.pushapi.failures import Failure
from reconciler.pushapi.hosts import is_loopback
from reconciler.pushapi.http import Http, Reply
from reconciler.pushapi.payload import Payload
from reconciler.pushapi.session import Again, Final, Progress, Session

# A container is not used in its last minutes, since our clock and theirs may differ.
_LIFETIME_MARGIN = 300.0
# What an entry keeps free for it (`calls.wire`); a UUID has 36.
MAX_FILE_ID = 128
_MAX_UPLOAD_HEADERS = 32
_CONNECTION_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "authorization", "cookie"}
)


@dataclass(frozen=True, slots=True)
class Container:
    """A filled container: the id that names it, and the moment (of the clock given) from which on it is not used."""

    file_id: str
    expires: float


@dataclass(frozen=True, slots=True)
class Depot:
    """Where containers come from and how long they last; `lifetime` is seconds."""

    session: Session
    storage: Http
    files_url: str
    lifetime: float
    clock: Callable[[], float]

    def fill(self, progress: Progress, payload: Payload) -> Container:
        """Return a new container that holds the payload. Raises Again or Final."""
        return self.fill_given(progress, self.session.exchange(progress, "container", "POST", self.files_url), payload)

    def fill_given(self, progress: Progress, created: Reply, payload: Payload) -> Container:
        """Upload the payload to the container that a reply names. Raises Again or Final."""
        file_id, upload_uri, headers = _named(created)
        expires = self.clock() + max(self.lifetime - _LIFETIME_MARGIN, 0.0)
        sent = {**headers, "Content-Length": str(payload.size)}
        try:
            self.session.settle(
                progress,
                "upload",
                lambda: self.storage.exchange("PUT", upload_uri, headers=sent, content=payload.pieces()),
                payload.size,
            )
        except Final as error:
            # An expired or damaged address answers 403 like a wrong one (push-api.md 8), and a new
            # container cures the first two: three steps anew, as often as the policy allows.
            if error.failure.status in (400, 403, 404, 412):
                raise Again(error.failure) from None
            raise
        return Container(file_id, expires)


def _named(created: Reply) -> tuple[str, str, Mapping[str, str]]:
    """Return the id, the address and the headers of the container that a reply names. Raises Final."""
    value: Any = created.json()
    if not isinstance(value, dict):
        value = {}
    file_id, upload_uri = value.get("fileId"), value.get("uploadUri")
    headers = value.get("requiredHeaders") or {}
    if not isinstance(file_id, str) or not 0 < len(file_id) <= MAX_FILE_ID or not isinstance(upload_uri, str):
        raise Final(Failure("container", "bad-reply", message="the answer names no file container (push-api.md 2.2)"))
    if not _headers_usable(headers):
        raise Final(Failure("container", "bad-reply", message="the answer asks for upload headers that cannot be sent"))
    if not _address_usable(upload_uri):
        raise Final(
            Failure(
                "upload",
                "upload-address",
                message="the remote names an upload address that is neither https nor this machine",
            )
        )
    return file_id, upload_uri, headers


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
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
