"""The door that every request of the emulated remote comes in by: keys, bodies, errors and the request log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from reconciler.emulator import batchfile, replies
from reconciler.emulator.containers import NoContent, StorageRefusal
from reconciler.emulator.database import MAXIMUM_ORDERING_ID
from reconciler.emulator.engine import Engine
from reconciler.emulator.faulting import broken, refusal
from reconciler.emulator.faults import Fault
from reconciler.emulator.loads import LISTS, Load, load_of
from reconciler.emulator.options import Needed
from reconciler.emulator.quotas import OverLimit
from reconciler.emulator.replies import Refusal
from reconciler.emulator.wire import BadJson, parse

BODY_BYTES = 6 * 1024 * 1024
"""The largest body of a request (push-api.md 4.1)."""


class Exchange:
    """One request on its way to an answer."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self.engine = engine
        self.request = request
        self.body: bytes | None = None
        self.container: bytes | None = None
        self.size = 0
        self.privileges: frozenset[str] = frozenset()
        self.fault: Fault | None = None

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def path(self) -> str:
        path: str = self.request.scope["path"]
        return path

    @cached_property
    def query_pairs(self) -> list[tuple[str, str]]:
        """The query, decoded once, in its order."""
        raw: bytes = self.request.scope["query_string"]
        return parse_qsl(raw.decode("latin-1"), keep_blank_values=True)

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(self.query_pairs)

    def segment(self, name: str) -> str:
        """Return a decoded segment of the path."""
        value: str = self.request.path_params[name]
        return value

    @property
    def organization(self) -> str:
        return self.segment("organization")

    # Who asks

    def identify(self) -> frozenset[str]:
        """Return what the key of the request may do; refuses a request without a key that is known."""
        header = self.request.headers.get("authorization", "").strip()
        if not header:
            raise replies.unauthorized()
        scheme, _, key = header.partition(" ")
        found = self.engine.options.privileges(key.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise replies.invalid_token()
        self.privileges = found
        return found

    def authorize(self, needed: Needed) -> None:
        """Refuse in the order of push-api.md 9: key, privilege, organization."""
        self.identify()
        if isinstance(needed, frozenset):
            if not any(map(self._holds, needed)):
                raise replies.access_denied("' or '".join(sorted(needed)))
        else:
            for privilege in (needed,) if isinstance(needed, str) else needed:
                if not self._holds(privilege):
                    raise replies.access_denied(privilege)
        organization = self.request.path_params.get("organization") or self.query.get("organizationId", "")
        if organization not in self.engine.options.organizations:
            raise replies.organization_not_found(organization)
        if organization in self.engine.options.paused:
            raise replies.organization_paused(organization)

    def _holds(self, privilege: str) -> bool:
        """Return whether the key has a privilege, or has it on the source of the path."""
        return not self.privileges.isdisjoint((privilege, f"{privilege}:{self.request.path_params.get('source')}"))

    # What is asked

    def required(self, name: str) -> str:
        """Return a query parameter that the documents require."""
        value = self.query.get(name)
        if not value:
            raise replies.missing_parameter(name)
        return value

    def flag(self, name: str) -> bool:
        value = self.query.get(name, "false")
        if value.lower() not in ("true", "false", "1", "0"):
            raise replies.invalid_parameter(name, value)
        return value.lower() in ("true", "1")

    def number(self, name: str, default: int, most: int) -> int:
        """Return a query parameter between 0 and `most`."""
        value = self.query.get(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or len(value) > 20 or int(value) > most:
            raise replies.invalid_parameter(name, value)
        return int(value)

    def ordering_id(self) -> int | None:
        """Return the ordering id of the request; `operationId` is its old name (push-api.md 2.3)."""
        name = "orderingId" if "orderingId" in self.query else "operationId"
        if name not in self.query:
            return None
        return self.number(name, 0, MAXIMUM_ORDERING_ID)

    async def read(self) -> bytes:
        """Return the body, refusing what the gateway refuses."""
        declared = self.request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > BODY_BYTES:
            self.size = int(declared)
            raise replies.too_large()
        pieces = bytearray()
        async for piece in self.request.stream():
            pieces += piece
            if len(pieces) > BODY_BYTES:
                self.size = len(pieces)
                raise replies.too_large()
        self.body = bytes(pieces)
        self.size = len(pieces)
        return self.body

    async def json(self, *, required: bool = True) -> Any:
        """Return the JSON body, None when there is none and none is required."""
        raw = await self.read()
        if not raw.strip():
            if required:
                raise replies.missing_parameter("body")
            return None
        kind = self.request.headers.get("content-type", "application/json")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise replies.unsupported_media_type()
        try:
            return parse(raw)
        except BadJson as error:
            raise replies.invalid_json(str(error)) from None

    # What is accepted

    def admit(self, *, items: int = 0, identities: int = 0) -> None:
        """Count a call of the Push API; refuses it when there were too many (push-api.md 4.2, 9)."""
        try:
            self.engine.meter.call(self.organization, items=items, identities=identities)
        except OverLimit as excess:
            raise replies.over_limit(excess) from None

    async def accept(
        self, kind: str, place: int, detail: dict[str, Any], *, ordering: int | None = None, wait: float = 0.0
    ) -> None:
        """Write an operation down, unless that is more than the organization may send."""
        await self.admit_load(kind, place, detail)
        body = self.body if kind in _WITH_BODY else None
        self.engine.accept(kind, place, self.marked(detail), body=body, ordering=ordering, wait=wait)

    async def accept_file(self, kind: str, place: int, file: str, *, ordering: int | None = None) -> None:
        """Write an operation down whose entries lie in a file container; what is in there is looked at later."""
        await self.read()
        containers, doubts = self.engine.containers, self.engine.options.doubts
        if doubts.unknown_file == "refuse" and not containers.exists(self.organization, file):
            raise replies.invalid_parameter("fileId", file)
        if doubts.bad_batch == "refuse":
            try:
                path = containers.ready(self.organization, file, self.engine.clock.now())
                batchfile.read_lists(path, LISTS[kind])
            except NoContent:
                pass  # a question of its own
            except BadJson as error:
                raise replies.invalid_json(str(error)) from None
        self.container = containers.content(file, self.engine.requests.limit // 2)
        await self.accept(kind, place, {"fileId": file}, ordering=ordering)

    async def admit_load(self, kind: str, place: int, detail: dict[str, Any]) -> None:
        """Count a call with what its operation carries; refuses what is too much (push-api.md 4.1, 4.2)."""
        limits = self.engine.options.limits
        load = Load()
        if limits.items is not None or limits.items_per_day is not None or limits.identities_per_day is not None:
            load = load_of(self.engine.containers, kind, detail)
        if limits.items is not None and load.uris:
            await self.engine.settle()
            uris = list(set(load.uris))
            present = len(self.engine.items.orderings(place, uris)[0])
            # A load takes the place of what the source holds (push-api.md 2.5).
            gone = self.engine.items.count(place) - present if kind == "stream.load" else 0
            new = len(uris) - present
            if new and self.indexed() + new - gone > limits.items:
                raise replies.document_limit_exceeded(limits.items)
        self.admit(items=load.items, identities=load.identities)

    def marked(self, detail: dict[str, Any]) -> dict[str, Any]:
        """Return an operation's detail with the rejection that a fault asks for."""
        rejection = None if self.fault is None else self.fault.rejection
        return detail if rejection is None else {**detail, "reject": rejection}

    def indexed(self) -> int:
        """Return how many items the organization holds."""
        return sum(self.engine.items.count(place) for place, _ in self.engine.sources(self.organization))


_WITH_BODY = frozenset({"item.put", "identity.put", "identity.map", "identity.delete"})


class Hooks:
    """Where a test puts in what no rule says: before a request is looked at, and before its answer leaves."""

    async def arriving(self, exchange: Exchange) -> Response | None:
        """Return an answer in place of the emulator's, which then does nothing."""
        del exchange
        return None

    async def answering(self, exchange: Exchange, response: Response) -> Response:
        """Return what is answered in place of `response`; what was accepted stays accepted."""
        del exchange
        return response


async def _meet(fault: Fault, exchange: Exchange) -> tuple[Response | None, str | None]:
    """Wait as long as a fault says; return the answer that it gives in place of the emulator's, and its code."""
    if fault.delay:
        await exchange.engine.pauses.wait(fault.delay)
    if fault.kind == "drop-before":
        return Response(status_code=0), None
    return refusal(fault, exchange.path)


Handler = Callable[[Exchange], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def endpoint(
    engine: Engine, hooks: Hooks, handler: Handler, *, privilege: Needed | None, observes: bool = False
) -> Endpoint:
    """Return `handler` behind the door; one that `observes` first lets what is due be processed."""

    async def enter(request: Request) -> Response:
        exchange = Exchange(engine, request)
        error: str | None = None
        fault = exchange.fault = engine.faults.pick(exchange.method, exchange.path)
        response = None
        try:
            if fault is not None:
                response, error = await _meet(fault, exchange)
            if response is None:
                response = await hooks.arriving(exchange)
            if response is None:
                if privilege is not None:
                    exchange.authorize(privilege)
                if observes:
                    await engine.settle()
                response = await handler(exchange)
        except (Refusal, StorageRefusal) as refused:
            response, error = refused.response(), refused.code
        except ClientDisconnect:
            response, error = Response(status_code=400), "CLIENT_DISCONNECTED"
        response = await hooks.answering(exchange, response)
        record(exchange, response.status_code, error)
        return response if fault is None else broken(fault, response, engine.pauses)

    return enter


def record(exchange: Exchange, status: int, error: str | None) -> None:
    """Write a request and its status into the request log."""
    exchange.engine.requests.add(
        exchange.engine.clock.now(),
        exchange.method,
        exchange.path,
        exchange.query_pairs,
        exchange.size,
        exchange.body,
        exchange.container,
        status,
        error,
        None if exchange.fault is None else exchange.fault.text,
    )
