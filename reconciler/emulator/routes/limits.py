"""What an organization may send and has sent, over HTTP: the limits API (push-api.md 2.6).

Documented: the paths, the model of an answer and the key `content/pushApiMaximumDailyDocumentLimit`. Inferred:
the other keys, which are those of an organization's license; that a limit that is not set is not found; and
that a burst, which is a matter of the gateway, is not among them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.door import Exchange, Handler, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.replies import reply

SECTION = "content"


def limit_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes of the limits: all, those of a section, one."""
    base = "/rest/organizations/{organization}/limits"
    table: list[tuple[str, Handler]] = [
        (base, every_section),
        (f"{base}/{{section}}", one_section),
        (f"{base}/{{section}}/{{key}}", one_limit),
    ]
    return [
        Route(path, endpoint(engine, hooks, handler, privilege=names.ORGANIZATION_VIEW, observes=True), methods=["GET"])
        for path, handler in table
    ]


async def every_section(exchange: Exchange) -> Response:
    return reply({SECTION: _limits(exchange)})


async def one_section(exchange: Exchange) -> Response:
    section = exchange.segment("section")
    if section != SECTION:
        raise replies.not_found(f"Section '{section}'")
    return reply(_limits(exchange))


async def one_limit(exchange: Exchange) -> Response:
    section, key = exchange.segment("section"), exchange.segment("key")
    found = _limits(exchange).get(key) if section == SECTION else None
    if found is None:
        raise replies.not_found(f"Limit '{section}/{key}'")
    return reply(found)


def _limits(exchange: Exchange) -> dict[str, Any]:
    """Return the limits that are set, each with what was used of it."""
    limits = exchange.engine.options.limits
    used = exchange.engine.meter.today(exchange.organization)
    today = datetime.fromtimestamp(exchange.engine.clock.now(), UTC).date().isoformat()
    table = {
        "pushApiMaximumDailyInvocations": (used.calls, limits.calls_per_day),
        "pushApiMaximumDailyDocumentLimit": (used.items, limits.items_per_day),
        "pushApiMaximumDailyRelationshipLimit": (used.identities, limits.identities_per_day),
        "numberOfDocumentsLimit": (exchange.indexed(), limits.items),
    }
    return {
        key: {"actualCount": count, "limit": limit, "lastUpdate": today}
        for key, (count, limit) in table.items()
        if limit is not None
    }
