"""File containers: asked for, filled, and good for an hour (push-api.md 2.2, 8).

[io] Storage never sees the API key: it has connections of its own. Content goes to the hosts that the project
allows, or that the documents show: Amazon's alone (push-api.md 2.2), `_misplaced` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from reconciler.pushapi.failures import Failure
from reconciler.pushapi.hosts import host_of, is_below, is_local, is_loopback, is_public_name
from reconciler.pushapi.http import Http, Reply, printable
from reconciler.pushapi.payload import Payload
from reconciler.pushapi.session import Again, Final, Progress, Session

# A container is not used in its last minutes, since our clock and theirs may differ.
_LIFETIME_MARGIN = 300.0
# What an entry keeps free for it (`calls.wire`); a UUID has 36.
MAX_FILE_ID = 128
_MAX_UPLOAD_HEADERS = 32
_PUBLIC_APIS = "cloud.coveo.com"
_DOCUMENTED = ("amazonaws.com",)
_CONNECTION_HEADERS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "authorization", "cookie"),
        *("expect", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade"),
    }
)


@dataclass(frozen=True, slots=True)
class Container:
    """A filled container: the id that names it, and the moment (of the clock given) from which on it is not used."""

    file_id: str
    expires: float


@dataclass(frozen=True, slots=True)
class Depot:
    """Where containers come from and how long they last; `lifetime` is seconds.

    `upload_hosts` are those that content may go to, empty for what is documented.
    """

    session: Session
    storage: Http
    files_url: str
    lifetime: float
    clock: Callable[[], float]
    upload_hosts: tuple[str, ...] = ()

    def fill(self, progress: Progress, payload: Payload) -> Container:
        """Return a new container that holds the payload. Raises Again or Final."""
        return self.fill_given(progress, self.session.exchange(progress, "container", "POST", self.files_url), payload)

    def fill_given(self, progress: Progress, created: Reply, payload: Payload) -> Container:
        """Upload the payload to the container that a reply names. Raises Again or Final."""
        file_id, upload_uri, headers = _named(created)
        if misplaced := _misplaced(upload_uri, self.files_url, self.upload_hosts):
            # No more than its host is shown: the address is a secret, even where it is none to be used.
            message = self.session.redacted(f"the remote names an upload address that {misplaced}")
            raise Final(Failure("upload", "upload-address", message=message))
        expires = self.clock() + max(self.lifetime - _LIFETIME_MARGIN, 0.0)
        sent = {**headers, "Content-Length": str(payload.size)}
        try:
            self.session.settle(
                progress,
                "upload",
                lambda: self.storage.exchange(
                    "PUT", upload_uri, headers=sent, content=payload.pieces(), attempt=progress.attempts
                ),
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


def _misplaced(url: str, api: str, allowed: Sequence[str]) -> str:
    """Return why content may not go to an address that the API at `api` names, as the end of a sentence.

    Empty when it may: by https, or to this machine from an API on it; to the `allowed` hosts and no others if there
    are any; to Amazon's from the public APIs. Any other API may name what is below a public name or its own host: it
    was never told where we are, so an address of this machine or of the network around it leads to whatever else
    listens there.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        return "is none"
    if "@" in parts.netloc:
        return "holds a user name"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return "is neither https nor this machine"
    known = allowed or (_DOCUMENTED if is_below(host_of(api), _PUBLIC_APIS) else ())
    if known:
        named = any(is_below(host, one) for one in known)
        return "" if named else f'is at "{printable(host, 100)}", which is none of {", ".join(known)}'
    if is_local(api) or is_public_name(host) or (parts.scheme == "https" and host == host_of(api)):
        return ""
    return "is on this machine or inside a network, which the remote is not"
