"""The security cache over HTTP (push-api.md 2.6)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.access import Graph, Who
from reconciler.emulator.door import Exchange, Handler, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.replies import reply
from reconciler.emulator.routes.read import narrowed, page
from reconciler.emulator.views import Access, member_of
from reconciler.emulator.wire import BadJson, folded, identity_type, text


def security_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes about identities and their relations."""
    cache = "/rest/organizations/{organization}/securitycache"
    entities = f"{cache}/entities"
    view, edit = names.READ_IDENTITIES, names.SECURITY_PROVIDER_EDIT
    table: list[tuple[str, str, Handler, names.Needed]] = [
        ("GET", f"{entities}/list/is_supported", is_supported, view),
        ("POST", f"{entities}/list", list_entities, view),
        ("GET", f"{entities}/{{provider}}/members", provider_members, view),
        ("POST", f"{entities}/{{provider}}/entity", one_entity, view),
        ("POST", f"{entities}/{{provider}}/members/children", children, view),
        ("POST", f"{entities}/{{provider}}/members/parents", parents, view),
        ("POST", f"{cache}/refresh", refresh, edit),
        ("POST", f"{cache}/refresh/entity", refresh_entity, edit),
        ("POST", f"{cache}/disabled/enable", enable, edit),
        ("POST", f"{cache}/{{provider}}/refresh", refresh, edit),
        ("POST", f"{cache}/{{provider}}/refresh/cancel", cancel_refresh, edit),
        ("POST", f"{cache}/{{provider}}/disabled/enable", enable, edit),
    ]
    return [
        Route(path, endpoint(engine, hooks, handler, privilege=privilege, observes=True), methods=[verb])
        for verb, path, handler, privilege in table
    ]


class _Cache:
    """The identities of an organization with the names they were pushed under."""

    def __init__(self, exchange: Exchange) -> None:
        self.access = Access(exchange.engine, exchange.organization)
        self.graph: Graph = self.access.graph
        self._spelled = exchange.engine.identities.spellings(exchange.organization)

    def members(self, provider: str | None = None) -> list[Who]:
        """Return the identities that are listed, in order; patterns of the e-mail provider are not."""
        return [who for who in self._spelled if provider is None or who.provider == provider]

    def shown(self, who: Who) -> dict[str, Any]:
        name, updated = self._spelled.get(who, (who.name, None))
        return member_of(who, self.access.identity_state(who), updated, name)

    def listed(self, whos: set[Who]) -> list[dict[str, Any]]:
        return [self.shown(who) for who in sorted(whos & self._spelled.keys())]

    def knows(self, who: Who) -> bool:
        return who in self._spelled


def _provider(exchange: Exchange) -> str:
    name = exchange.segment("provider")
    if exchange.engine.provider(exchange.organization, name) is None:
        raise replies.Refusal(404, "SECURITY_PROVIDER_NOT_FOUND", f"Security provider '{name}' does not exist.")
    return name


async def _asked(exchange: Exchange, provider: str) -> Who:
    return _member(exchange, await exchange.json(), provider)


def _member(exchange: Exchange, value: Any, provider: str) -> Who:
    """Read a SecurityCacheMemberModel (push-api.md 2.6)."""
    try:
        keys = folded(value, "A member")
        name, kind = text(keys, "name"), identity_type(text(keys, "type") or "user")
        if not name or kind is None:
            raise BadJson("A member needs a name and a type.")
        infos = keys.get("infos") or []
        if not isinstance(infos, list):
            raise BadJson("'infos' must be an array.")
        pairs = [(text(entry, "key") or "", text(entry, "value") or "") for entry in map(_info, infos)]
    except BadJson as error:
        raise replies.invalid_json(str(error)) from None
    return exchange.engine.identities.directory_of(exchange.organization).who(provider, kind, name, pairs)


def _info(value: Any) -> dict[str, Any]:
    return folded(value, "An entry of 'infos'")


async def is_supported(exchange: Exchange) -> Response:
    del exchange
    return reply(True)


async def list_entities(exchange: Exchange) -> Response:
    body = await exchange.json(required=False)
    filters = {key.lower(): value for key, value in body.items()} if isinstance(body, dict) else {}
    cache = _Cache(exchange)
    providers, types = filters.get("providerids"), filters.get("identitytypes")
    term = str(filters.get("filterterm") or "").casefold()
    anywhere = str(filters.get("filteringmode") or "PREFIX").upper() == "SUBSTRING"
    found = [
        cache.shown(who)
        for who in cache.members()
        if (not isinstance(providers, list) or not providers or who.provider in providers)
        and (not isinstance(types, list) or not types or who.type in types)
        and (term in who.name.casefold() if anywhere else who.name.casefold().startswith(term))
    ]
    return reply(page(exchange, found))


async def provider_members(exchange: Exchange) -> Response:
    provider = _provider(exchange)
    cache = _Cache(exchange)
    shown = [cache.shown(who) for who in cache.members(provider)]
    return reply(page(exchange, narrowed(exchange, shown)))


async def one_entity(exchange: Exchange) -> Response:
    who = await _asked(exchange, _provider(exchange))
    cache = _Cache(exchange)
    if not cache.knows(who):
        raise replies.not_found(f"The entity '{who.name}'")
    return reply(cache.shown(who))


async def children(exchange: Exchange) -> Response:
    who = await _asked(exchange, _provider(exchange))
    cache = _Cache(exchange)
    direct = set(cache.graph.children.get(who, ()))
    found = cache.graph.below((who,)) - {who} if exchange.flag("recursive") else direct
    return reply(page(exchange, cache.listed(found), "pageSize"))


async def parents(exchange: Exchange) -> Response:
    """Answer the groups of a member, and its aliases as relations across providers."""
    who = await _asked(exchange, _provider(exchange))
    cache = _Cache(exchange)
    if exchange.flag("recursive"):
        found = set(cache.graph.of(who)) - {who}
    else:
        found = {*cache.graph.parents.get(who, ()), *cache.graph.aliases.get(who, ())}
    return reply(page(exchange, cache.listed(found), "pageSize"))


async def refresh(exchange: Exchange) -> Response:
    """Begin to refresh one provider or all of them: it happens behind what was accepted before."""
    wanted = _provider(exchange) if "provider" in exchange.request.path_params else None
    await exchange.read()
    for place, provider in exchange.engine.providers(exchange.organization):
        if wanted in (None, provider.id):
            exchange.engine.accept("identity.refresh", place, {})
    return Response(status_code=204)


async def refresh_entity(exchange: Exchange) -> Response:
    """Refresh the identity that the body names with its provider."""
    value = await exchange.json()
    name = value.get("provider") if isinstance(value, dict) else None
    place = exchange.engine.provider(exchange.organization, name) if isinstance(name, str) else None
    if place is None:
        raise replies.Refusal(404, "SECURITY_PROVIDER_NOT_FOUND", "The member names no security provider.")
    who = _member(exchange, value, str(name))
    exchange.engine.accept("identity.refresh", place, {"identity": (who.name, who.type, who.info)})
    return Response(status_code=204)


async def cancel_refresh(exchange: Exchange) -> Response:
    """Call off a refresh that has not happened yet; one that has is not undone."""
    place = exchange.engine.provider(exchange.organization, _provider(exchange))
    await exchange.read()
    if place is not None:
        exchange.engine.cancel_refresh(place)
    return Response(status_code=204)


async def enable(exchange: Exchange) -> Response:
    wanted = _provider(exchange) if "provider" in exchange.request.path_params else None
    await exchange.read()
    for place, provider in exchange.engine.providers(exchange.organization):
        if wanted in (None, provider.id):
            exchange.engine.identities.enable_all(place)
    return Response(status_code=204)
