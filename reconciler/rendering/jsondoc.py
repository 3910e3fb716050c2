"""A plan as a JSON document, for programs and for saving: the same document serves both.

It holds digests and sizes of bodies, never their text, and no excerpt of a manifest, so that it may
be published. `rendering.plan_schema` describes it; `planfile` reads it back. Within one major
`format_version` keys are only added: a reader ignores those it does not know.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from reconciler import __version__
from reconciler.calls.call import Call, Compiled, Covered, SourceStatus, Stage
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change, FieldChange, field_changes, touches_access
from reconciler.planning.plan import BodyRef, Hazard, Plan
from reconciler.problems import Problem
from reconciler.rendering.blame import blame_document
from reconciler.rendering.doubts import doubt_document
from reconciler.rendering.effective import effect_document
from reconciler.rendering.expiring import expiring_document
from reconciler.rendering.order import order_document

FORMAT_VERSION = "1.0"

_Part = bytes | list[bytes]


def encode_plan(plan: Plan, compiled: Compiled, sign: Callable[[bytes], str] | None = None) -> bytes:
    """Return a plan and its calls as JSON text: deterministic, one change per line, checksum last.

    `sign` gives the signature of a document's `unsigned` form, for a plan that is to bear one.

    Stages without calls leave no trace in it. Each element is encoded once, as soon as it is made:
    the lines of the file are also what the checksum reads, and ten thousand changes are never held
    as dictionaries.
    """
    parts = dict(_parts(plan, compiled))
    bare = b"{" + b",".join(_pair(key, _compact(parts[key])) for key in sorted(parts)) + b"}"
    if sign is not None:
        parts["signature"] = canonical_json(sign(bare))
    parts["checksum"] = canonical_json(hashlib.sha256(bare).hexdigest())
    return b"{\n" + b",\n".join(_pair(key, _lines(part)) for key, part in parts.items()) + b"\n}\n"


def checksum(document: dict[str, Any]) -> str:
    """Return the SHA-256 of a document's `unsigned` form."""
    return hashlib.sha256(unsigned(document)).hexdigest()


def unsigned(document: dict[str, Any]) -> bytes:
    """Return a document's canonical form without `checksum` and `signature`, which are of it.

    So a plan has the same checksum whoever signed it.
    """
    return canonical_json({key: value for key, value in document.items() if key not in ("checksum", "signature")})


def render_json(plan: Plan, compiled: Compiled) -> str:
    """Return the plan as JSON text that ends with a line break."""
    return encode_plan(plan, compiled).decode()


def _parts(plan: Plan, compiled: Compiled) -> Iterator[tuple[str, _Part]]:
    """Yield the document's keys in reading order, each with its canonical JSON."""
    changes: list[bytes] = []
    touched: list[str] = []
    for change in plan.changes:
        fields = field_changes(change)
        changes.append(canonical_json(_change(change, fields)))
        if touches_access(change, fields):
            touched.append(change.address)
    actions = Counter(change.action for change in plan.changes)
    summary = {action.value: actions[action] for action in Action}
    target = plan.target
    yield "format_version", canonical_json(FORMAT_VERSION)
    yield "environment", canonical_json(plan.environment)
    if plan.as_of:
        yield "as_of", canonical_json(plan.as_of)
        yield "holds_until", canonical_json(plan.holds_until or None)
    if plan.rollback:
        yield "rollback", canonical_json(plan.rollback)
    yield "state", canonical_json({"lineage": plan.base.lineage, "serial": plan.base.serial})
    if plan.doubts:
        yield "doubts", [canonical_json(doubt_document(doubt)) for doubt in plan.doubts]
    if plan.blame is not None:
        yield "blame", canonical_json(blame_document(plan.blame))
    yield "summary", canonical_json({**summary, "no_op": plan.no_op})
    yield "changes", changes
    yield "calls", [canonical_json(call) for call in _calls(compiled.stages)]
    yield "statuses", [canonical_json(_status(status)) for status in compiled.statuses]
    yield "quota", canonical_json(_quota(compiled))
    access = {
        "evaluated": bool(plan.access) or not touched,
        "touched": touched,
        "tests": {"run": plan.tests.run, "failed": plan.tests.failed},
        **(orjson.loads(plan.access) if plan.access else {}),
        "order": order_document(compiled),
        "effective": [effect_document(effect) for effect in compiled.effects],
        **({"expiring": [expiring_document(entry) for entry in plan.expiring]} if plan.as_of else {}),
    }
    yield "access", canonical_json(access)
    yield "hazards", [canonical_json(_hazard(hazard)) for hazard in plan.hazards]
    yield "problems", [canonical_json(problem_document(problem)) for problem in plan.problems]
    yield "tool_version", canonical_json(__version__)
    yield (
        "target",
        canonical_json(
            {
                "organization": target.organization,
                "sources": dict(target.sources),
                "providers": dict(target.providers),
            }
        ),
    )
    commit = {"commit": plan.commit, "dirty": plan.dirty} if plan.commit else {}
    yield "manifests", canonical_json({"digest": plan.manifest_digest, **commit})
    yield "selection", canonical_json(plan.selection)
    yield "bodies", [canonical_json(_body(body)) for body in plan.bodies]
    yield (
        "tightened",
        [canonical_json({"address": each.address, **(_resource(each) or {})}) for each in compiled.tightened],
    )
    yield "state_only", [canonical_json(address) for address in compiled.state_only]


def _pair(key: str, value: bytes) -> bytes:
    return canonical_json(key) + b":" + value


def _compact(part: _Part) -> bytes:
    return part if isinstance(part, bytes) else b"[" + b",".join(part) + b"]"


def _lines(part: _Part) -> bytes:
    if isinstance(part, bytes) or not part:
        return _compact(part)
    return b"[\n" + b",\n".join(part) + b"\n]"


def problem_document(problem: Problem) -> dict[str, Any]:
    """Return a problem as JSON values, without its excerpt: that is a line of somebody's manifest."""
    document: dict[str, Any] = {
        "code": problem.code,
        "severity": problem.severity.value,
        "what": problem.what,
        "why": problem.why,
        "fix": problem.fix,
        "where": problem.where,
        "file": None,
        "line": None,
        "column": None,
        "length": None,
    }
    if problem.position is not None:
        place = problem.position
        document.update(file=place.file, line=place.line, column=place.column, length=place.length)
    document["related"] = [
        {
            "file": entry.position.file,
            "line": entry.position.line,
            "column": entry.position.column,
            "length": entry.position.length,
            "what": entry.what,
        }
        for entry in problem.related
    ]
    return document


def _change(change: Change, fields: Sequence[FieldChange]) -> dict[str, Any]:
    kind, scope, name = change.address.split("/", 2)
    document: dict[str, Any] = {
        "address": change.address,
        "kind": kind,
        "scope": scope,
        "name": name,
        "action": change.action.value,
        "reason": change.reason,
        "fields": [{"path": entry.path, "before": entry.before, "after": entry.after} for entry in fields],
        "before": _resource(change.before),
        "after": _resource(change.after),
    }
    if change.moved_from is not None:
        document["moved_from"] = change.moved_from
    if change.moved_to is not None:
        document["moved_to"] = change.moved_to
    return document


def _resource(resource: Resource | None) -> dict[str, Any] | None:
    if resource is None:
        return None
    # Both are canonical JSON already (`model.canonical`): parsing them again would double the time.
    return {
        "doc": orjson.Fragment(resource.doc),
        "shared": orjson.Fragment(resource.shared) if resource.shared else None,
    }


def _calls(stages: Sequence[Stage]) -> Iterator[dict[str, Any]]:
    for number, stage in enumerate((stage for stage in stages if stage.calls), 1):
        for call in stage.calls:
            yield _call(call, stage.name, number)


def _call(call: Call, stage: str, stage_number: int) -> dict[str, Any]:
    return {
        "number": call.number,
        "stage": stage,
        "stage_number": stage_number,
        "kind": call.kind.value,
        "method": call.method,
        "path": call.path,
        "query": call.query,
        "scope": call.scope,
        "size": call.size,
        "api_calls": call.api_calls,
        "requests": call.requests,
        "after": call.after,
        "containers": call.containers,
        "chunks": call.chunks,
        "covers": [_cover(entry) for entry in call.covers],
    }


def _cover(entry: Covered) -> dict[str, Any]:
    document: dict[str, Any] = {"address": entry.address, "verb": entry.verb.value}
    if entry.fields:
        document["fields"] = entry.fields
    return document


def _quota(compiled: Compiled) -> dict[str, Any]:
    """Return what the calls take, and what is allowed of it; null is no limit."""
    taken, allowed = compiled.estimate(), compiled.allowed
    return {
        "calls": taken.calls,
        "items": taken.items,
        "bytes": taken.size,
        "seconds": taken.seconds,
        "calls_per_day": allowed.calls_per_day,
        "burst_calls": allowed.burst_calls,
        "burst_seconds": allowed.burst_seconds,
        "items_per_day": allowed.items_per_day,
    }


def _status(status: SourceStatus) -> dict[str, Any]:
    return {"source": status.source, "status": status.status, "path": status.path}


def _hazard(hazard: Hazard) -> dict[str, Any]:
    return {
        "name": hazard.name,
        "subject": hazard.subject,
        "what": hazard.what,
        "why": hazard.why,
        "fix": hazard.fix,
        "count": hazard.count,
        "addresses": hazard.addresses,
        "allowed": hazard.allowed,
        "people": hazard.people,
        "liftable": hazard.liftable,
    }


def _body(body: BodyRef) -> dict[str, Any]:
    return {"sha256": body.sha256, "size": body.size, "path": body.path}
