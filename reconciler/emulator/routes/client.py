"""What the official clients ask for around a push, and no document of the Push API describes.

Seen on the wire: before it pushes, the Node client (and with it the official command line) asks whether the key
may make fields, and pages through those that are there. Which privileges have which name there is push-api.md 1.3.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.door import Exchange, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.replies import reply
from reconciler.emulator.routes.read import page


def client_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes that only clients know."""
    fields = "/rest/organizations/{organization}/indexes/page/fields"
    return [
        Route("/rest/privilege/evaluate", endpoint(engine, hooks, evaluate, privilege=None), methods=["POST"]),
        Route(fields, endpoint(engine, hooks, page_fields, privilege=names.FIELD_VIEW), methods=["GET"]),
    ]


async def evaluate(exchange: Exchange) -> Response:
    """Answer whether the key has a privilege, `{"requestedPrivilege": {"type": ..., "targetDomain": ...}}`."""
    held = exchange.identify()
    asked = await exchange.json()
    privilege = asked.get("requestedPrivilege") if isinstance(asked, dict) else None
    if not isinstance(privilege, dict):
        raise replies.invalid_json("'requestedPrivilege' must be an object.")
    return reply({"approved": _known_as(privilege) in held})


def _known_as(privilege: dict[str, Any]) -> str:
    """Return the name that the emulator's options have for a privilege."""
    kind, domain = str(privilege.get("type", "")).upper(), str(privilege.get("targetDomain", "")).upper()
    return kind if domain == "SEARCH_API" else f"{domain}_{kind}"


async def page_fields(exchange: Exchange) -> Response:
    """Answer a page of the fields; `indexes/fields/search` is what came after it (push-api.md 2.6)."""
    fields = exchange.engine.fields.all(exchange.organization)
    return reply(page(exchange, [fields[name] for name in sorted(fields)]))
