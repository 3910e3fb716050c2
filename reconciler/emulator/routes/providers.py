"""Security identity providers over HTTP (push-api.md 2.4). What the answers to bad requests are called is a guess."""

from __future__ import annotations

from collections import Counter
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.door import Exchange, Handler, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.options import EMAIL_PROVIDER
from reconciler.emulator.providers import Model
from reconciler.emulator.replies import Refusal, reply
from reconciler.emulator.routes.read import page
from reconciler.emulator.views import Access

_TYPES = frozenset(
    {
        *("ACTIVE_DIRECTORY2", "BOX", "CLAIMS", "CLAIMS_TO_EMAIL", "CONFLUENCE", "CONFLUENCE2", "CUSTOM", "DATABASE"),
        *("DROPBOX_FOR_BUSINESS", "EMAIL", "EXPANDED", "FILE", "GOOGLE_DRIVE_DOMAIN_WIDE", "GENERIC_REST", "GRAPHQL"),
        *("JIRA2", "JIVE", "KHOROS_COMMUNITY", "MICROSOFT_DYNAMICS", "OFFICE365", "SALESFORCE", "SERVICENOW"),
        *("SHAREPOINT", "SHAREPOINT_ONLINE", "SITECORE", "SLACK", "ZENDESK"),
    }
)
_REFERENCES = ("SOURCE", "SECURITY_PROVIDER")


def provider_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes of the providers."""
    base = "/rest/organizations/{organization}/securityproviders"
    one = f"{base}/{{provider}}"
    table: list[tuple[str, str, Handler, names.Needed]] = [
        ("GET", base, list_providers, names.READ_IDENTITIES),
        ("POST", base, create_provider, names.SECURITY_PROVIDER_CREATE),
        ("GET", f"{base}/page", page_providers, names.READ_IDENTITIES),
        ("GET", one, one_provider, names.READ_IDENTITIES),
        ("PUT", one, put_provider, names.SECURITY_PROVIDER_CREATE),
        ("DELETE", one, delete_provider, names.SECURITY_PROVIDER_EDIT),
    ]
    return [
        Route(path, endpoint(engine, hooks, handler, privilege=privilege, observes=True), methods=[method])
        for method, path, handler, privilege in table
    ]


# Reading


async def list_providers(exchange: Exchange) -> Response:
    return reply(_shown(exchange))


async def page_providers(exchange: Exchange) -> Response:
    """Answer a page of the providers whose id or display name holds the text of `filter`."""
    words = exchange.query.get("filter", "").casefold()
    found = [
        model
        for model in _shown(exchange)
        if words in model["id"].casefold() or words in str(model["displayName"]).casefold()
    ]
    return reply(page(exchange, found))


async def one_provider(exchange: Exchange) -> Response:
    wanted = exchange.segment("provider")
    found = next((model for model in _shown(exchange) if model["id"] == wanted), None)
    if found is None:
        raise _missing(wanted)
    return reply(found)


def _missing(name: str) -> Refusal:
    return Refusal(404, "SECURITY_PROVIDER_NOT_FOUND", f"Security provider '{name}' does not exist.")


def _shown(exchange: Exchange) -> list[Model]:
    """Return the providers with their references, statistics and status."""
    engine, organization = exchange.engine, exchange.organization
    access = Access(engine, organization)
    states: dict[str, Counter[str]] = {}
    for who in sorted(access.graph.identities()):
        states.setdefault(who.provider, Counter())[access.identity_state(who)] += 1
    shown = []
    for place, model in engine.provider_models(organization):
        counts = states.get(model["id"], Counter())
        shown.append(
            {
                **model,
                "organizationId": organization,
                "referencedBy": _references(exchange, model),
                "currentStatus": {"state": "UPDATING" if engine.database.waiting(place) else "IDLE"},
                "statistics": {
                    "totalNumberOfEntities": counts.total(),
                    "numberOfEntitiesInError": counts["IN_ERROR"],
                    "numberOfEntitiesByState": dict(sorted(counts.items())),
                },
            }
        )
    return shown


def _references(exchange: Exchange, model: Model) -> list[dict[str, str]]:
    sources = [
        {"id": source.id, "type": "SOURCE"}
        for _, source in exchange.engine.sources(exchange.organization)
        if source.provider == model["id"]
    ]
    return sources + [entry for entry in model["referencedBy"] if entry["type"] != "SOURCE"]


# Changing


def _bad(why: str) -> Refusal:
    return Refusal(400, "INVALID_PARAMETER", why)


async def _read(exchange: Exchange, name: str | None) -> Model:
    """Return the model in a body; `name` is the id in the path."""
    value = await exchange.json()
    if not isinstance(value, dict):
        raise replies.invalid_json("A provider is an object.")
    found = value.get("id", name)
    if not isinstance(found, str) or not found.strip() or "/" in found or not found.isprintable():
        raise _bad("A provider needs an 'id' that can stand in a path.")
    if name is not None and found != name:
        raise _bad("The id in the path and the one in the body differ: an id is permanent.")
    if found == EMAIL_PROVIDER:
        raise _bad(f"'{EMAIL_PROVIDER}' cannot be changed.")
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise _bad(f"'{str(kind)[:100]}' is no type of a provider.")
    shown = value.get("displayName")
    if shown is not None and not isinstance(shown, str):
        raise _bad("'displayName' must be a string.")
    return {
        "id": found,
        "name": found,
        "displayName": shown or found,
        "type": kind,
        "nodeRequired": _flag(value, "nodeRequired"),
        "caseSensitive": _flag(value, "caseSensitive"),
        "referencedBy": [_reference(exchange, entry) for entry in _list(value, "referencedBy")],
        "cascadingSecurityProviders": _cascades(value.get("cascadingSecurityProviders")),
    }


def _flag(value: dict[str, Any], name: str) -> bool:
    found = value.get(name)
    if found is not None and not isinstance(found, bool):
        raise _bad(f"'{name}' must be true or false.")
    return bool(found)


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    if found is not None and not isinstance(found, list):
        raise _bad(f"'{name}' must be an array.")
    return found or []


def _reference(exchange: Exchange, entry: Any) -> dict[str, str]:
    name, kind = (entry.get("id"), entry.get("type")) if isinstance(entry, dict) else (None, None)
    if not isinstance(name, str) or kind not in _REFERENCES:
        raise _bad("An entry of 'referencedBy' needs an 'id' and a 'type'.")
    if kind == "SOURCE" and exchange.engine.source(exchange.organization, name) is None:
        raise _bad(f"Source '{name}' does not exist.")
    return {"id": name, "type": str(kind)}


def _cascades(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad("'cascadingSecurityProviders' must be an object.")
    found = {}
    for key, entry in value.items():
        name = (entry.get("id") or entry.get("name")) if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            raise _bad(f"Cascading provider '{key[:100]}' needs an 'id'.")
        found[key] = {"id": name, "name": name, "type": str(entry.get("type") or "EXPANDED")}
    return found


async def create_provider(exchange: Exchange) -> Response:
    model = await _read(exchange, None)
    if any(found["id"] == model["id"] for _, found in exchange.engine.provider_models(exchange.organization)):
        status = exchange.engine.options.doubts.existing_provider
        raise Refusal(status, "SECURITY_PROVIDER_ALREADY_EXISTS", f"Security provider '{model['id']}' already exists.")
    return _write(exchange, model)


async def put_provider(exchange: Exchange) -> Response:
    """Create a provider or replace its settings."""
    return _write(exchange, await _read(exchange, exchange.segment("provider")))


def _write(exchange: Exchange, model: Model) -> Response:
    engine, organization = exchange.engine, exchange.organization
    before = {entry["id"]: (place, entry) for place, entry in engine.provider_models(organization)}
    place, known = before.get(model["id"], (None, None))
    changes_case = known is not None and known["caseSensitive"] is not model["caseSensitive"]
    if changes_case and engine.options.doubts.provider_case == "refuse" and place and engine.identities.rows(place):
        raise _bad("'caseSensitive' cannot be changed while the provider holds identities.")
    engine.put_provider(organization, model)
    return reply(next(shown for shown in _shown(exchange) if shown["id"] == model["id"]))


async def delete_provider(exchange: Exchange) -> Response:
    """Delete a provider and its identities."""
    engine, name = exchange.engine, exchange.segment("provider")
    found = next((model for _, model in engine.provider_models(exchange.organization) if model["id"] == name), None)
    if found is None:
        raise _missing(name)
    if name == EMAIL_PROVIDER:
        raise _bad(f"'{EMAIL_PROVIDER}' cannot be deleted.")
    references = _references(exchange, found)
    if references and engine.options.doubts.provider_in_use == "refuse":
        raise _bad(f"Security provider '{name}' is referenced by '{references[0]['id']}'.")
    engine.delete_provider(exchange.organization, name)
    return Response(status_code=204)
