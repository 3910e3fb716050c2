"""One call on its way: what of it is at the remote already, and the attempts that bring the rest.

[io] An attempt does all steps that are still missing: containers of large bodies, the container of the
batch that names them, the request itself (push-api.md 2.1, 2.2), or the chunks of a load between its
opening and closing (2.5). What fails or expires on the way is begun anew, and nothing is ever
committed unless storage said 2xx for all of it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self
from urllib.parse import quote

from reconciler.calls.call import OLDER_THAN, STREAMS, CallKind
from reconciler.model.address import Address
from reconciler.pushapi.containers import Container, Depot
from reconciler.pushapi.failures import Failure, Step
from reconciler.pushapi.http import Reply, with_query
from reconciler.pushapi.payload import Parcel, Payload
from reconciler.pushapi.session import Again, Final, Progress

_THROTTLED = 429
_TOO_SLOW = Failure("upload", "timeout", message="it took longer than a container lasts (push-api.md 2.2)")


class Delivery:
    """The state of one call between attempts; a context manager that drops its temporary files."""

    def __init__(self, depot: Depot, base_url: str, parcel: Parcel, ordering_id: int, progress: Progress) -> None:
        self._depot = depot
        self._base = base_url
        self._parcel = parcel
        self._progress = progress
        call = parcel.call
        self._call = call
        # Streams choose their ordering id themselves (push-api.md 2.5).
        self._query = call.query if call.kind in STREAMS else (*call.query, ("orderingId", str(ordering_id)))
        self._apart: dict[Address, Container] = {}
        self._batch: Container | None = None
        self._payload: Payload | None = None
        self._stream = ""
        self._stream_expires = 0.0
        self._chunks = 0
        self._next_chunk: Reply | None = None
        self._chunk_in_doubt = False
        self._close_in_doubt = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop_payload()

    def attempt(self) -> Reply:
        """Do what is missing, the call itself last. Raises Again, Final, or ManifestError for a body."""
        if self._call.kind is CallKind.STREAM_LOAD:
            return self._load()
        self._fill_apart()
        if self._call.is_batch:
            if self._batch is None:
                self._batch = self._depot.fill(self._progress, self._batch_payload())
            self._check_time(self._batch, *self._apart.values())
            return self._commit("batch", (*self._query, ("fileId", self._batch.file_id)), None)
        self._check_time(*self._apart.values())
        body = b"" if self._call.kind in OLDER_THAN else self._parcel.single(self._file_ids())
        return self._commit("call", self._query, body or None)

    # Calls and batches

    def _commit(self, step: Step, query: tuple[tuple[str, str], ...], body: bytes | None) -> Reply:
        try:
            url = with_query(f"{self._base}/{self._call.path}", query)
            return self._depot.session.exchange(self._progress, step, self._call.method, url, body)
        except Again as again:
            # A container that may have been consumed is gone (push-api.md 2.2). Throttled, it was not
            # looked at.
            if again.failure.status != _THROTTLED:
                self._batch = None
                self._apart.clear()
                if self._call.containers:
                    self._drop_payload()
            raise

    def _fill_apart(self) -> None:
        """Bring over each large body that has no container, or one that is about to expire."""
        now = self._depot.clock()
        wanted = [covered for covered in self._parcel.apart() if not _lasts(self._apart.get(covered.address), now)]
        if wanted or not _lasts(self._batch, now):
            self._batch = None
        for covered in wanted:
            with self._parcel.body(covered) as payload:
                self._apart[covered.address] = self._depot.fill(self._progress, payload)
        if wanted:
            self._drop_payload()

    def _check_time(self, *containers: Container) -> None:
        """Raise Again when one of them expired while others were filled: the remote would find it empty."""
        now = self._depot.clock()
        if not all(_lasts(container, now) for container in containers):
            raise Again(_TOO_SLOW)

    def _file_ids(self) -> dict[Address, str]:
        return {address: container.file_id for address, container in self._apart.items()}

    def _batch_payload(self) -> Payload:
        if self._payload is None:
            self._payload = self._parcel.batch(self._file_ids())
        return self._payload

    def _drop_payload(self) -> None:
        if self._payload is not None:
            self._payload.file.close()
            self._payload = None

    # Loads

    def _load(self) -> Reply:
        """Open, fill one container after the other, and close; a load that is never closed changes nothing."""
        root = f"{self._base}/{self._call.path.removesuffix('/open')}"
        exchange = self._depot.session.exchange
        if not self._stream:
            opened = exchange(self._progress, "container", "POST", f"{root}/open")
            stream = _stream_id(opened)
            self._stream_expires = self._fill_chunk(opened, 0).expires
            self._stream, self._chunks = stream, 1
            self._next_chunk, self._chunk_in_doubt = None, False
        stream_root = f"{root}/{quote(self._stream, safe='')}"
        while self._chunks < len(self._call.chunks):
            if self._next_chunk is None:
                self._next_chunk = exchange(self._progress, "container", "POST", f"{stream_root}/chunk")
            self._fill_next(self._next_chunk)
        if self._depot.clock() >= self._stream_expires:
            self._stream = ""
            raise Again(_TOO_SLOW)
        try:
            return exchange(self._progress, "batch", "POST", f"{stream_root}/close")
        except Again:
            self._close_in_doubt = True
            raise
        except Final as error:
            # After a close whose reply was lost the stream may be gone because it was taken: a load is
            # harmless to repeat, so it is begun anew, once.
            self._stream = ""
            if self._close_in_doubt:
                self._close_in_doubt = False
                raise Again(error.failure) from None
            raise

    def _fill_next(self, given: Reply) -> None:
        """Fill a further container; what may have arrived is never uploaded to another one of the same load."""
        try:
            self._fill_chunk(given, self._chunks)
        except Again as again:
            if again.failure.status is None:
                # The same one again: that overwrites what is there (push-api.md 8).
                self._chunk_in_doubt = True
            elif self._chunk_in_doubt:
                self._stream = ""
            else:
                self._next_chunk = None
            raise
        self._chunks += 1
        self._next_chunk, self._chunk_in_doubt = None, False

    def _fill_chunk(self, given: Reply, number: int) -> Container:
        with self._parcel.chunk(number) as payload:
            return self._depot.fill_given(self._progress, given, payload)


def _lasts(container: Container | None, now: float) -> bool:
    return container is not None and now < container.expires


def _stream_id(opened: Reply) -> str:
    value = opened.json()
    found = value.get("streamId") if isinstance(value, dict) else None
    if not isinstance(found, str) or not found:
        raise Final(Failure("container", "bad-reply", message="the answer names no stream (push-api.md 2.5)"))
    return found
