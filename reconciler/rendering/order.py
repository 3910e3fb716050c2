"""What keeping every moment of a run safe took, as a JSON document and in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.calls.call import Compiled, Transient, Verb
from reconciler.model.address import Kind
from reconciler.rendering.values import count


def order_document(compiled: Compiled) -> dict[str, Any]:
    """Return whether the order was checked, what it cost, what is tightened, and what is seen for a time."""
    return {
        "checked": compiled.order.checked,
        "extra_calls": compiled.order.extra_calls,
        "tightened": [resource.address for resource in compiled.tightened],
        "transients": [_transient(entry) for entry in compiled.order.transients],
    }


def order_lines(compiled: Compiled) -> Iterator[str]:
    """Yield what a safe order cost, and what is tightened until when; nothing where the usual order is safe."""
    order = compiled.order
    if order.extra_calls:
        more = count(order.extra_calls, "call")
        yield f"{more} more than the fewest, so that at no moment anybody sees what is not meant for them."
    hidden = [resource for resource in compiled.tightened if resource.address.kind is Kind.ITEM]
    if hidden:
        yield f"Nobody sees {count(len(hidden), 'item')} from call {_first(compiled)} on until put as meant."
    narrowed = len(compiled.tightened) - len(hidden)
    if narrowed:
        first = _first(compiled)
        yield f"{count(narrowed, 'identity', 'identities')} listed with those alone who stay, from call {first} on."


def _first(compiled: Compiled) -> int:
    tight = (call.number for call in compiled.calls if any(each.verb is Verb.TIGHTEN for each in call.covers))
    return next(tight, 0)


def _transient(entry: Transient) -> dict[str, Any]:
    return {
        "since": entry.since,
        "until": entry.until,
        "source": entry.source,
        "items": entry.items,
        "examples": list(entry.examples),
        "people": entry.people,
        "identities": list(entry.identities),
        "public": entry.public,
    }
