"""File containers: pre-signed upload addresses and what the object storage checks (push-api.md 2.2, 8)."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from starlette.responses import Response

from reconciler.emulator.clock import Clock
from reconciler.emulator.database import Database
from reconciler.emulator.options import EmulatorOptions

LIFETIME = 3600
"""Seconds for which an upload address is valid and its container is kept (push-api.md 2.2)."""
STORAGE_LIMIT = 5 * 1024**3
CONTAINER_BYTES = 256 * 1024 * 1024
"""What a file container may hold (push-api.md 4.1); its consumer counts, not the storage (8)."""
_SIGNATURE = "X-Amz-Signature"


class StorageRefusal(Exception):
    """An upload that the storage refuses, in its own XML."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def response(self) -> Response:
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message></Error>"
        )
        return Response(text, self.status, media_type="application/xml")


class NoContent(ValueError):
    """A file container that gives an operation nothing; the text says why."""


def expired() -> StorageRefusal:
    """Return what the storage says of an address whose time is over."""
    return StorageRefusal(403, "AccessDenied", "Request has expired")


class Upload(NamedTuple):
    """A request to the storage, as far as the storage looks at it."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    file: str


class Containers:
    """Issues containers, checks uploads to them, and clears away what was used or has expired."""

    def __init__(self, options: EmulatorOptions, database: Database, clock: Clock) -> None:
        self._required = dict(options.doubts.required_headers)
        self._database = database
        self._clock = clock
        self._secret = database.secret.encode()

    def issue(self, organization: str, base_url: str) -> dict[str, object]:
        """Create an empty container and return what `POST /files` answers."""
        file = str(uuid.uuid4())
        now = self._clock.now()
        self._database.connection.execute(
            "INSERT INTO containers VALUES (?, ?, ?, NULL, 'issued')", (file, organization, now)
        )
        path = f"/_storage/{organization}/{file}"
        signed_headers = ";".join(sorted(name.lower() for name in self._required))
        query = [
            ("X-Amz-Algorithm", "EMULATED-HMAC-SHA256"),
            ("X-Amz-Date", str(int(now))),
            ("X-Amz-Expires", str(LIFETIME)),
            ("X-Amz-SignedHeaders", signed_headers),
        ]
        query.append((_SIGNATURE, self._sign("PUT", path, query)))
        uri = f"{base_url}{quote(path)}?{urlencode(query)}"
        return {"uploadUri": uri, "fileId": file, "requiredHeaders": self._required}

    def _sign(self, method: str, path: str, query: list[tuple[str, str]]) -> str:
        text = "\n".join([method, path, *(f"{key}={value}" for key, value in sorted(query))])
        return hmac.new(self._secret, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def check(self, upload: Upload) -> None:
        """Raise StorageRefusal unless the storage would take this upload."""
        if "authorization" in upload.headers:
            raise StorageRefusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        signatures = [value for key, value in upload.query if key == _SIGNATURE]
        query = [pair for pair in upload.query if pair[0] != _SIGNATURE]
        expected = self._sign(upload.method, upload.path, query)
        given = signatures[0] if len(signatures) == 1 else ""
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
            raise StorageRefusal(
                403, "SignatureDoesNotMatch", "The request signature does not match the signature provided."
            )
        issued = int(dict(query).get("X-Amz-Date", "0"))
        if self._clock.now() >= issued + LIFETIME:
            raise expired()
        for name, value in self._required.items():
            if upload.headers.get(name.lower()) != value:
                raise StorageRefusal(403, "AccessDenied", "Access Denied")
        self._check_length(upload.headers.get("content-length"))

    def _check_length(self, length: str | None) -> None:
        if length is None:
            raise StorageRefusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        if length.isdigit() and int(length) > STORAGE_LIMIT:
            raise StorageRefusal(400, "EntityTooLarge", "Your proposed upload exceeds the maximum size.")

    def path(self, file: str) -> Path:
        return self._database.containers / file

    def stored(self, file: str, size: int) -> None:
        """Remember that an upload arrived whole."""
        self._database.connection.execute(
            "UPDATE containers SET size = ?, state = 'uploaded' WHERE file = ?", (size, file)
        )

    def exists(self, organization: str, file: str) -> bool:
        """Return whether a container of this name was issued to the organization."""
        row = self._database.connection.execute(
            "SELECT 1 FROM containers WHERE file = ? AND organization = ?", (file, organization)
        ).fetchone()
        return row is not None

    def ready(self, organization: str, file: str, accepted: float) -> Path:
        """Return where the content of a container lies, for an operation of then. Raises NoContent."""
        row = self._database.connection.execute(
            "SELECT created, size FROM containers WHERE file = ? AND organization = ?", (file, organization)
        ).fetchone()
        path = self.path(file)
        if row is None or row[1] is None or accepted >= row[0] + LIFETIME or not path.is_file():
            raise NoContent(f"The file container '{file[:100]}' does not exist, is empty, or has expired.")
        if row[1] > CONTAINER_BYTES:
            raise NoContent(f"The file container '{file}' is larger than {CONTAINER_BYTES} bytes.")
        return path

    def content(self, file: str, limit: int) -> bytes | None:
        """Return what was uploaded, None when it is missing or larger than `limit`."""
        if not self.issued(file):
            return None
        try:
            if self.path(file).stat().st_size > limit:
                return None
            return self.path(file).read_bytes()
        except OSError:
            return None

    def issued(self, file: str) -> bool:
        """Return whether this emulator made that name, so that it may be part of a path."""
        row = self._database.connection.execute("SELECT 1 FROM containers WHERE file = ?", (file,)).fetchone()
        return row is not None

    def consumed(self, organization: str, file: str) -> None:
        """Delete a container of an organization whose content went to the pipeline (push-api.md 2.2)."""
        cursor = self._database.connection.execute(
            "UPDATE containers SET size = NULL, state = 'consumed' WHERE file = ? AND organization = ?",
            (file, organization),
        )
        if cursor.rowcount:
            self.path(file).unlink(missing_ok=True)

    def purge(self, pending_files: Callable[[], set[str]]) -> None:
        """Delete containers that expired, except those that accepted operations still name."""
        rows = self._database.connection.execute(
            "SELECT file FROM containers WHERE created < ?", (self._clock.now() - LIFETIME,)
        ).fetchall()
        pending = pending_files() if rows else set()
        for (file,) in rows:
            if file not in pending:
                self.path(file).unlink(missing_ok=True)
                self._database.connection.execute("DELETE FROM containers WHERE file = ?", (file,))
