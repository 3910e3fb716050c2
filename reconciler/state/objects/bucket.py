"""[io] An object store, as far as a state needs it: objects under one prefix, written under conditions.

A conditional write has one of two ends here: it was ours, or another one's object stands there. When its answer was
lost it is asked what stands there now, so whatever is written under a condition must be unlike anything else.
Errors of the library never get out as they are: their texts hold addresses, and those may hold signatures.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import obstore
import orjson
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from reconciler.problems import StateError
from reconciler.state.objects import faults
from reconciler.state.objects.url import Place

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Library

LARGEST = 1 << 31  # bytes of an object: somebody else's must not fill the memory
AT_ONCE = 8  # requests under way at the same time

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|ContainerBeingDeleted|bucket does not exist", re.IGNORECASE)
_OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
# Asked of the machine when the environment gives none.
_NO_CREDENTIALS = re.compile(
    r"latest/api/token|latest/meta-data|computeMetadata|metadata/identity|169\.254\.|token request|Credential",
    re.IGNORECASE,
)
_NETWORK = (
    # Each text names `retry_timeout`, whatever happened.
    (re.compile(r"timed ?out|\btimeout", re.IGNORECASE), "it did not answer in time"),
    (re.compile(r"dns error|failed to lookup", re.IGNORECASE), "its name cannot be resolved"),
    (re.compile(r"certificate|tls|ssl", re.IGNORECASE), "no secure connection to it can be made"),
    (
        re.compile(r"builder error", re.IGNORECASE),
        "its address is plain http, which is only allowed on this machine",
    ),
    (
        re.compile(r"error sending request|connect|connection", re.IGNORECASE),
        "no connection to it can be made, or it broke",
    ),
)


@dataclass(frozen=True, slots=True)
class Network:
    """How long to wait, in seconds: for a connection, for the next byte, for a whole object, and for all attempts."""

    connect: float = 5.0
    silence: float = 20.0
    transfer: float = 300.0
    attempts: float = 20.0


@dataclass(frozen=True, slots=True)
class Found:
    """An object: its bytes, what names this version of it, and when it was written (seconds since 1970, by the store).

    The time has no fractions where it comes over HTTP.
    """

    data: bytes
    version: str
    modified: float


class Bucket:
    """The objects under one prefix of an object store. All methods raise StateError, and only that."""

    def __init__(self, store: Library, shown: Callable[[], str], network: Network) -> None:
        self._store = store
        self._shown = shown
        self._network = network

    def get(self, name: str) -> Found | None:
        """Return an object, None if there is none."""
        with self._reported():
            try:
                result = obstore.get(self._store, name)
                if result.meta["size"] > LARGEST:
                    raise faults.corrupt(self._shown(), name, "it is far too long")
                return Found(bytes(result.bytes()), _version(result.meta), result.meta["last_modified"].timestamp())
            except FileNotFoundError as error:
                if _NO_BUCKET.search(str(error)):
                    raise faults.no_bucket(self._shown()) from None
                return None

    def get_all(self, names: Sequence[str]) -> Iterator[Found | None]:
        """Yield the objects in the order of their names, several asked for at once."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(names), AT_ONCE):
                yield from pool.map(self.get, names[start : start + AT_ONCE])

    def list_after(self, folder: str, after: str = "") -> list[tuple[str, str]]:
        """Return the objects of a folder whose names come after one, sorted, each with what names its version."""
        with self._reported():
            try:
                pages = obstore.list(self._store, prefix=folder, offset=after or None, chunk_size=1000)
                found = [(meta["path"], _mark(meta)) for page in pages for meta in page]
            except FileNotFoundError:
                raise faults.no_bucket(self._shown()) from None
        return sorted(found)

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whatever is there."""
        with self._reported():
            obstore.put(self._store, name, data, use_multipart=False)

    def create(self, name: str, data: bytes) -> str | None:
        """Write an object where none is; return its version, None when another one is there."""
        return self._put_if(name, data, None)

    def swap(self, name: str, data: bytes, version: str) -> str | None:
        """Write an object in place of one version of it; return the new version, None when that is not there."""
        return self._put_if(name, data, version)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that are not there any more do not matter."""
        if not names:
            return
        with self._reported():
            try:
                obstore.delete(self._store, list(names))
            except FileNotFoundError:
                self._delete_each(names)
            except BaseError as error:
                if _status(error) in ("401", "403") or isinstance(error, PermissionDeniedError):
                    raise
                self._delete_each(names)  # not every store takes several at once

    def _delete_each(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError:
                continue

    def _put_if(self, name: str, data: bytes, version: str | None) -> str | None:
        mode: Any = "create"
        if version is not None:
            mode = {key: value for key, value in orjson.loads(version).items() if value is not None}
        until = time.monotonic() + self._network.attempts
        pause = 0.05
        while True:
            refused = False
            try:
                return _version(obstore.put(self._store, name, data, mode=mode, use_multipart=False))
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                if _NO_BUCKET.search(str(error)):
                    raise faults.no_bucket(self._shown()) from None
                refused = True
            except (BaseError, OSError, ValueError, NotImplementedError) as error:
                failure = self._failure(error)
                if failure.problems[0].code != "state-unreachable":
                    raise failure from None
            found = self.get(name)
            if found is not None and found.data == data:
                return found.version  # an earlier attempt arrived, and its answer did not
            there = None if found is None else found.version
            if there != version or (refused and version is not None):
                return None
            # Nothing has changed. A create that was refused all the same met one that was being deleted.
            if time.monotonic() >= until:
                raise faults.unreachable(self._shown(), "it refuses to write") if refused else failure
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError, NotImplementedError) as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> StateError:
        text, where = str(error), self._shown()
        status, code = _status(error), _CODE.search(text)
        answer = f"it answers {status}" + (f" {code[1]}" if code else "") if status else ""
        if _NO_BUCKET.search(text):
            return faults.no_bucket(where)
        if _NO_CREDENTIALS.search(text):
            return faults.access_denied(where, "no credentials were found, or they cannot be used")
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or status in ("401", "403"):
            return faults.access_denied(where, answer or "credentials are missing or not valid")
        if isinstance(error, (NotImplementedError, NotSupportedError)) or status == "501":
            return faults.unfit(where, "it does not know how to write under a condition")
        if status in ("301", "307") or (code and code[1] in _OTHER_REGION):
            return faults.unreachable(where, f"{answer}, which says that it is in another region than was named")
        if status:
            return faults.unreachable(where, answer)
        detail = next((words for pattern, words in _NETWORK if pattern.search(text)), "a request to it failed")
        return faults.unreachable(where, detail)


def connect(place: Place, where: Callable[[], str], network: Network) -> Bucket:
    """Return the objects at a place; nothing is sent yet. Raises StateError for settings that make no sense."""
    client: Any = {
        "connect_timeout": timedelta(seconds=network.connect),
        "read_timeout": timedelta(seconds=network.silence),
        "timeout": timedelta(seconds=network.transfer),
    }
    if _may_be_plain(place):
        client["allow_http"] = True
    retry: Any = {
        "max_retries": 4,
        "retry_timeout": timedelta(seconds=network.attempts),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
    }
    options = place.options
    given: dict[str, Any] = {"prefix": place.prefix, "client_options": client, "retry_config": retry}
    store: Library
    try:
        if place.scheme == "s3":
            given.update({key: options[key] for key in ("endpoint", "region") if key in options})
            store = S3Store(place.bucket, conditional_put="etag", **given)
        elif place.scheme == "gs":
            given.update({"base_url": options["endpoint"]} if "endpoint" in options else {})
            store = GCSStore(place.bucket, **given)
        else:
            names = {"account": "account_name", "endpoint": "endpoint"}
            given.update({names[key]: value for key, value in options.items()})
            store = AzureStore(place.bucket, **given)
    except (BaseError, OSError, ValueError, TypeError):
        raise faults.bad_url(
            place.shown,
            "cannot be used with these settings",
            "check the settings of the store in the environment (AWS_..., GOOGLE_..., AZURE_...).",
        ) from None
    return Bucket(store, where, network)


def _may_be_plain(place: Place) -> bool:
    """Return whether plain http is allowed: to this machine, or where the environment says so."""
    if place.options.get("endpoint", "").startswith("http://"):
        return True  # `objects_url` let it pass, so it is on this machine
    prefix = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}[place.scheme]
    return os.environ.get(f"{prefix}_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on")


def _version(meta: Any) -> str:
    return orjson.dumps({"e_tag": meta.get("e_tag"), "version": meta.get("version")}).decode()


def _mark(meta: Any) -> str:
    return f"{meta['e_tag']} {meta['size']} {meta['last_modified'].isoformat()}"


def _status(error: Exception) -> str:
    found = _STATUS.search(str(error))
    return found[1] if found else ""
