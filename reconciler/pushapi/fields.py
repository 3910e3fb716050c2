"""Creates fields, all that are missing in one call (push-api.md 2.6).

[io] Which fields those are is decided elsewhere.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from reconciler.model.metadata import FieldType
from reconciler.pushapi.client import USER_AGENT
from reconciler.pushapi.hosts import Hosts
from reconciler.pushapi.http import Timeouts
from reconciler.pushapi.retry import RetryPolicy
from reconciler.pushapi.session import Progress, Session

if TYPE_CHECKING:
    import httpx

    from reconciler.pushapi.network import Network
    from reconciler.pushapi.pace import Pace


def field_model(name: str, kind: FieldType) -> dict[str, Any]:
    """Return the FieldModel of a new field, which search finds and shows (push-api.md 2.6, 4.4)."""
    model: dict[str, Any] = {"name": name, "type": kind.wire, "includeInQuery": True, "includeInResults": True}
    if kind is FieldType.MULTI:
        model |= {"multiValueFacet": True, "multiValueFacetTokenizers": ";"}
    return model


def create_fields(
    hosts: Hosts,
    organization: str,
    api_key: str,
    fields: Mapping[str, FieldType],
    *,
    transport: httpx.BaseTransport | None = None,
    network: Network | None = None,
    timeouts: Timeouts | None = None,
    pace: Pace | None = None,
    policy: RetryPolicy | None = None,
    user_agent: str = USER_AGENT,
    sleep: Callable[[float], None] = time.sleep,
    draw: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Create these fields by one call. Raises CallFailed; its outcome may be unknown."""
    url = f"{hosts.platform}/rest/organizations/{quote(organization, safe='')}/indexes/fields/batch/create"
    content = orjson.dumps([field_model(name, kind) for name, kind in sorted(fields.items())])
    session = Session(
        api_key,
        user_agent=user_agent,
        transport=transport,
        network=network,
        timeouts=timeouts,
        pace=pace,
        policy=policy,
        sleep=sleep,
        draw=draw,
        clock=clock,
    )
    try:
        progress = Progress(f"POST {url}")
        session.run(lambda: session.exchange(progress, "call", "POST", url, content), progress)
    finally:
        session.close()
