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

# The engine takes about a second and a hundred megabytes for each megabyte: some 30,000 changes.
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
    files = occasion.files or {}
    changes: list[orjson.Fragment] = []
    size = 0
    for change in plan.changes:
        text = orjson.dumps(_change(change, files.get(change.address)), option=orjson.OPT_SORT_KEYS)
        size += len(text)
        if size > MAX_INPUT:
            raise ManifestError(_too_large(len(plan.changes), len(changes)))
        changes.append(orjson.Fragment(text))
    return orjson.dumps({**_head(plan, occasion), "changes": changes})


def _head(plan: Plan, occasion: Occasion) -> dict[str, Any]:
    actions = Counter(change.action for change in plan.changes)
    return {
        "format_version": FORMAT_VERSION,
        "phase": occasion.phase,
        "environment": plan.environment,
        "organization": plan.target.organization,
        **_when(occasion.now),
        "commit": {"id": plan.commit or None, "dirty": plan.dirty, "author": occasion.author or None},
        "rollback": bool(plan.rollback),
        "selection": plan.selection,
        "summary": {**{action.value: actions[action] for action in Action}, "no_op": plan.no_op},
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
    return {"as_of": instant_text(now), "weekday": moment.strftime("%A"), "hour": moment.hour}


def _change(change: Change, file: str | None) -> dict[str, Any]:
    kind, scope, name = change.address.split("/", 2)
    document = {
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
    }
    if change.moved_from is not None:
        document["moved_from"] = change.moved_from
    if change.moved_to is not None:
        document["moved_to"] = change.moved_to
    return document


def _values(resource: Resource | None) -> dict[str, Any] | None:
    if resource is None:
        return None
    own, shared = resource.own(), resource.shared_doc()
    if resource.address.kind is not Kind.ITEM:
        return {**own, **(shared or {})}
    body = own.get("body")
    if body is not None:
        own["body"] = {key: value for key, value in body.items() if key != "sha256"}
    return {**own, "permissions": shared}


def _access(plan: Plan) -> dict[str, Any]:
    """Return how many people and items gain and lose, zero where no change touches access."""
    totals = orjson.loads(plan.access)["totals"] if plan.access else {}
    return {
        f"{what}_{side}": totals.get(f"{what}_{side}", 0)
        for what in ("pairs", "people", "items")
        for side in ("gained", "lost")
    }


def _too_large(changes: int, fit: int) -> Problem:
    return Problem(
        "policy-too-large",
        f"{changes:,} changes are too many for the policies: {fit:,} of them are {MAX_INPUT >> 20} MiB of input",
        why="the engine would take minutes and gigabytes for them; what was not evaluated is not allowed.",
        fix="apply them in parts: reconciler plan --source NAME, or --target PATTERN.",
    )
