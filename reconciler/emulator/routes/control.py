"""What tests and the curious ask the emulator itself; the real remote has nothing of this.

These endpoints take no key: an emulator listens on the loopback interface only.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator.engine import Engine
from reconciler.emulator.items import Item
from reconciler.emulator.replies import Refusal, invalid_json, invalid_parameter, organization_not_found, reply
from reconciler.emulator.views import Access, permission_of
from reconciler.emulator.wire import identity_type


def control_routes(engine: Engine) -> list[Route]:
    """Return the routes under `/_emulator/`."""
    control = _Control(engine)
    table = {
        "requests": (control.requests, "GET"),
        "state": (control.state, "GET"),
        "viewers": (control.viewers, "GET"),
        "visible": (control.visible, "GET"),
        "reset": (control.reset, "POST"),
        "flush": (control.flush, "POST"),
        "clock": (control.clock, "POST"),
        "faults": (control.faults, "GET PUT POST DELETE"),
    }
    return [Route(f"/_emulator/{name}", handler, methods=verbs.split()) for name, (handler, verbs) in table.items()]


class _Control:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def requests(self, request: Request) -> Response:
        """Answer the received requests; `?since=N` leaves out those up to number N."""
        since = request.query_params.get("since", "0")
        if not since.isascii() or not since.isdigit():
            return invalid_parameter("since", since).response()
        entries = self._engine.requests.entries()
        listed = [entry.described() for entry in entries if entry.number > int(since)]
        return reply({"total": self._engine.requests.total, "requests": listed})

    async def state(self, request: Request) -> Response:
        """Answer all that is indexed, after processing what is due."""
        del request
        await self._engine.settle()
        organizations = self._engine.options.organizations
        return reply(
            {
                "now": self._engine.clock.now(),
                "pending": self._engine.database.pending(),
                "organizations": {name: self._organization(name) for name in organizations},
            }
        )

    def _organization(self, organization: str) -> dict[str, Any]:
        engine = self._engine
        identities: dict[str, list[dict[str, Any]]] = {}
        aliases: list[dict[str, Any]] = []
        for place, provider in engine.providers(organization):
            listed = identities[provider.id] = []
            for row in engine.identities.rows(place):
                identity = {"name": row.name, "type": row.type, "additionalInfo": orjson.loads(row.info)}
                mappings = [_listed(entry) for entry in orjson.loads(row.mappings)]
                listed.append(
                    {
                        **identity,
                        "members": [_listed(entry) for entry in orjson.loads(row.members)],
                        "wellKnowns": [_listed(entry) for entry in orjson.loads(row.well_knowns)],
                        "mappings": mappings,
                        "disabled": bool(row.disabled),
                    }
                )
                if mappings:
                    aliases.append({"provider": provider.id, **identity, "mappings": mappings})
        return {"sources": self._sources(organization), "identities": identities, "aliases": aliases}

    def _sources(self, organization: str) -> dict[str, Any]:
        engine = self._engine
        return {
            source.id: {
                "visibility": source.visibility,
                "provider": source.provider,
                "status": engine.database.status(place),
                "count": engine.items.count(place),
                "items": [_item(item) for item in engine.items.each(place)],
            }
            for place, source in engine.sources(organization)
        }

    async def viewers(self, request: Request) -> Response:
        """Answer who sees one item: `?source=&uri=` and, with several of them, `&organization=`."""
        await self._engine.settle()
        organization = self._asked_organization(request)
        if organization not in self._engine.options.organizations:
            return organization_not_found(organization).response()
        found = self._engine.source(organization, request.query_params.get("source", ""))
        item = found and self._engine.items.one([found[0]], request.query_params.get("uri", ""))
        if not found or not item:
            return reply({"found": False, "anonymous": False, "users": []})
        access = Access(self._engine, organization)
        users = [{**permission_of(who), "decision": decision.value} for who, decision in access.viewers(item).items()]
        return reply({"found": True, "anonymous": access.public(item, found[1]), "users": users})

    async def visible(self, request: Request) -> Response:
        """Answer what one identity sees: `?provider=&type=&name=`; without them, what anybody sees."""
        await self._engine.settle()
        organization = self._asked_organization(request)
        if organization not in self._engine.options.organizations:
            return organization_not_found(organization).response()
        access = Access(self._engine, organization)
        identities = access.graph.anonymous
        asked = request.query_params
        if "name" in asked:
            directory = self._engine.identities.directory_of(organization)
            kind = identity_type(asked.get("type", "USER"))
            if kind is None:
                return invalid_parameter("type", asked["type"]).response()
            who = directory.who(asked.get("provider", ""), kind, asked["name"])
            identities = access.graph.of(who)
        seen = [
            {"source": source.id, "uri": item.uri}
            for place, source in self._engine.sources(organization)
            for item in self._engine.items.each(place)
            if access.sees(item, source, identities)
        ]
        return reply({"items": seen, "identities": [permission_of(who) for who in sorted(identities)]})

    def _asked_organization(self, request: Request) -> str:
        return request.query_params.get("organization") or self._engine.options.organizations[0]

    async def reset(self, request: Request) -> Response:
        """Forget everything that was pushed, the request log and what was used of quotas; faults begin anew.

        Rules that this endpoint's neighbor set give way to those that the emulator was started with.
        """
        del request
        self._engine.reset()
        return reply({})

    async def flush(self, request: Request) -> Response:
        """Process all that waits, whatever the delay; an olderthan's own delay included."""
        del request
        await self._engine.settle(until=float("inf"))
        return reply({"pending": self._engine.database.pending()})

    async def faults(self, request: Request) -> Response:
        """Answer the rules of faults and how often each fired, after a change if the method asks for one.

        PUT sets `{"rules": [...], "seed": N}` in place of what there was, POST adds `{"rules": [...]}`, DELETE
        clears. A rule that cannot be read is answered 400 with what is wrong, and changes nothing.
        """
        faults = self._engine.faults
        try:
            if request.method == "DELETE":
                faults.clear()
            elif request.method in ("PUT", "POST"):
                rules, seed = _asked_faults(await request.body(), seeded=request.method == "PUT")
                if request.method == "PUT":
                    faults.set(rules, seed)
                else:
                    faults.add(rules)
        except ValueError as error:
            return Refusal(400, "INVALID_FAULT", str(error)[:1000]).response()
        return reply({"seed": faults.seed, "rules": faults.listed()})

    async def clock(self, request: Request) -> Response:
        """Move the clock forward: `{"advance": seconds}`."""
        try:
            seconds = float(orjson.loads(await request.body())["advance"])
            self._engine.clock.advance(seconds)
        except (ValueError, KeyError, TypeError) as error:
            refusal: Refusal = invalid_json(str(error))
            return refusal.response()
        return reply({"now": self._engine.clock.now()})


def _asked_faults(raw: bytes, *, seeded: bool) -> tuple[list[str], int | None]:
    """Return the rules and the seed that a body names. Raises ValueError."""
    body = orjson.loads(raw)
    rules = body.get("rules") if isinstance(body, dict) else None
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise ValueError('the body is an object with "rules", a list of strings')
    if surplus := sorted(body.keys() - ({"rules", "seed"} if seeded else {"rules"})):
        raise ValueError(f'"{surplus[0][:100]}" means nothing here')
    seed = body.get("seed")
    if seed is not None and type(seed) is not int:
        raise ValueError('"seed" is a whole number')
    return rules, seed


def _listed(entry: list[Any]) -> dict[str, Any]:
    provider, kind, name, info = entry
    return {"provider": provider, "type": kind, "name": name, "additionalInfo": info}


def _item(item: Item) -> dict[str, Any]:
    return {
        "uri": item.uri,
        "orderingId": int(item.ordering),
        "permanentid": item.permanentid,
        "parentId": item.parent,
        "fileExtension": item.extension,
        "metadata": item.metadata_values(),
        "permissions": item.levels(),
        "body": None
        if item.body_key is None
        else {
            "key": item.body_key,
            "compression": item.compression,
            "size": item.body_size,
            "sha256": item.body_sha256,
            "preview": item.preview[:200],
        },
        "pushed": item.pushed,
    }
