"""The input of policies: what a plan would do, as one JSON document with a published schema.

It holds the changes with their values, merged so that a rule reads `change.after.permissions`, and what is known of
when and from which commit. It holds no body, no key and no call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from reconciler.model.address import Kind
from reconciler.model.instant import instant_text
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change, field_changes
from reconciler.planning.plan import Plan
from reconciler.problems import ManifestError, Problem

FORMAT_VERSION = "1.0"

# The engine takes about a second and a hundred megabytes for each megabyte.
MAX_INPUT = 16 << 20


@dataclass(frozen=True, slots=True)
class Occasion:
    """When a plan is held against the policies, and what is known of it beyond the plan.

    `now` are seconds since 1970, None where the verdict must not depend on when it is asked for. `files` are the
    manifests by address, as far as they are known, `author` is the mail address of the commit's author.
    """

    phase: Literal["plan", "apply"]
    now: int | None = None
    author: str = ""
    files: Mapping[str, str] | None = None


def policy_input(plan: Plan, occasion: Occasion) -> bytes:
    """Return the input document. Raises ManifestError for a plan that is too large to be evaluated."""
    text = orjson.dumps(_document(plan, occasion), option=orjson.OPT_SORT_KEYS)
    if len(text) > MAX_INPUT:
        raise ManifestError(_too_large(len(plan.changes), len(text)))
    return text


def _document(plan: Plan, occasion: Occasion) -> dict[str, Any]:
    actions = Counter(change.action for change in plan.changes)
    files = occasion.files or {}
    return {
        "formatVersion": FORMAT_VERSION,
        "phase": occasion.phase,
        "environment": plan.environment,
        "organization": plan.target.organization,
        **_when(occasion.now),
        "commit": {"id": plan.commit or None, "dirty": plan.dirty, "author": occasion.author or None},
        "rollback": bool(plan.rollback),
        "selection": plan.selection,
        "summary": {**{action.value: actions[action] for action in Action}, "noOp": plan.no_op},
        "changes": [_change(change, files.get(change.address)) for change in plan.changes],
        "access": _access(plan),
        "hazards": [
            {"name": hazard.name, "subject": hazard.subject, "count": hazard.count, "allowed": hazard.allowed}
            for hazard in plan.hazards
        ],
    }


def _when(now: int | None) -> dict[str, Any]:
    """Return what is told of the time; without one nothing, so that a rule that asks for it says nothing either."""
    if now is None:
        return {}
    moment = datetime.fromtimestamp(now, UTC)
    return {"asOf": instant_text(now), "weekday": moment.strftime("%A"), "hour": moment.hour}


def _change(change: Change, file: str | None) -> dict[str, Any]:
    kind, scope, name = change.address.split("/", 2)
    return {
        "address": change.address,
        "kind": kind,
        "scope": scope,
        "name": name,
        "action": change.action.value,
        "reason": change.reason,
        "file": file,
        "fields": [".".join(entry.path) for entry in field_changes(change)],
        "before": _values(change.before),
        "after": _values(change.after),
        "movedFrom": change.moved_from,
        "movedTo": change.moved_to,
    }


def _values(resource: Resource | None) -> dict[str, Any] | None:
    if resource is None:
        return None
    shared = resource.shared_doc()
    if resource.address.kind is Kind.ITEM:
        return {**resource.own(), "permissions": shared}
    return {**resource.own(), **(shared or {})}


def _access(plan: Plan) -> dict[str, Any]:
    """Return how many people and items gain and lose, zero where no change touches access."""
    totals = orjson.loads(plan.access)["totals"] if plan.access else {}
    return {
        f"{what}{side.capitalize()}": totals.get(f"{what}_{side}", 0)
        for what in ("pairs", "people", "items")
        for side in ("gained", "lost")
    }


def _too_large(changes: int, size: int) -> Problem:
    return Problem(
        "policy-too-large",
        f"{changes:,} changes are {size:,} bytes of input for the policies; the limit is {MAX_INPUT:,}",
        why="the engine would take minutes and gigabytes; what was not evaluated is not allowed.",
        fix="apply it in parts: reconciler plan --source NAME, or --target PATTERN.",
    )
