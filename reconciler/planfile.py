"""A plan, its calls and what they need, as bytes to save and to apply verbatim later.

Pure: bytes out, bytes in. The checksum finds accidents and careless edits; it is no signature, and
whoever can write a plan file can make a new one, unless plans are signed. So what is read is also held
to what a plan may say: its paths stay inside the project and on the host that the environment names.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any
from urllib.parse import unquote

import orjson

from reconciler import __version__
from reconciler.calls.call import (
    Call,
    CallKind,
    Compiled,
    Covered,
    IdentityEffect,
    Order,
    SourceStatus,
    Stage,
    Transient,
    Verb,
)
from reconciler.calls.quotas import UNLIMITED, Allowance
from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json
from reconciler.model.grant import MODELS
from reconciler.model.identity import parse_identity
from reconciler.model.instant import instant_text, parse_instant
from reconciler.model.states import Resource, StateBase, Target
from reconciler.planning.change import Action, Change
from reconciler.planning.plan import AccessTests, Blame, BodyRef, Doubt, Expiring, Hazard, Origin, Plan
from reconciler.problems import Position, Problem, Related, Severity, StateError
from reconciler.rendering.jsondoc import FORMAT_VERSION, checksum, encode_plan, unsigned

_METHODS = frozenset({"PUT", "POST", "DELETE"})
_CALL_PATH = re.compile(r"(?!//)[A-Za-z0-9._~%/-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})?")
_VERSION = re.compile(r"([1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")

_SHIFTS = frozenset({"created", "deleted", "edited", "affected"})
_EXPOSURE = ("complete", "gained", "lost", "more", "totals", "causes", "hazards")
_TOTALS = ("pairs_gained", "pairs_lost", "people_gained", "people_lost", "items_gained", "items_lost")

_REMAKE = "make and review a new plan:\n    reconciler plan --out plan.json"


# From a document's `unsigned` form to its signature.
Sign = Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan file as read: the plan, its calls, and the file's checksum.

    `digest` names the plan: equal digests mean equal plans. `tool_version` made it. `signed` says that it bears a
    signature, which is right if `load_plan` was given what to check it with.
    """

    plan: Plan
    compiled: Compiled
    digest: str
    tool_version: str = __version__
    signed: bool = False


def dump_plan(plan: Plan, compiled: Compiled, sign: Sign | None = None) -> bytes:
    """Return the bytes of a plan file, signed by `sign`.

    `load_plan` returns equal values, but for excerpts of problems.
    """
    return encode_plan(plan, compiled, sign)


def load_plan(data: bytes, where: str, sign: Sign | None = None) -> SavedPlan:
    """Return the plan that `data` holds; `where` names the file in problems.

    With `sign`, only one that bears the signature which that gives.

    Raises StateError with `plan-not-json`, `plan-truncated`, `plan-not-a-plan`,
    `plan-newer-version`, `plan-altered`, `plan-unsigned` or `plan-signature`.
    """
    document = _parsed(data, where)
    _check_version(document, where)
    stated = document.get("checksum")
    if not isinstance(stated, str):
        raise _refusal("plan-not-a-plan", f'"{where}" holds no checksum', where)
    if checksum(document) != stated:
        raise _refusal(
            "plan-altered",
            f'"{where}" was changed after it was made: its checksum does not match',
            where,
            why="what was reviewed is what is applied, and nobody reviewed this.",
        )
    if sign is not None:
        _check_signature(document, sign, where)
    try:
        return _saved(document, stated)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise _refusal(
            "plan-not-a-plan", f'"{where}" is not a plan that reconciler can read: {_told(error)}', where
        ) from error


def _check_signature(document: dict[str, Any], sign: Sign, where: str) -> None:
    signature = document.get("signature")
    if signature is None:
        raise unsigned_refusal(f'"{where}" bears no signature', where)
    # Compared in constant time: how long it takes says nothing of the right one.
    right = sign(unsigned(document)).encode()
    if not isinstance(signature, str) or not hmac.compare_digest(signature.encode(errors="replace"), right):
        raise _refusal(
            "plan-signature",
            f'the signature of "{where}" is not that of this plan with the key that is set here',
            where,
            why="it was altered and sealed again, or signed with another key.",
            fix=f"see that RECONCILER_PLAN_KEY is the same where plans are made; then {_REMAKE}",
        )


def unsigned_refusal(what: str, where: str) -> StateError:
    """Return the refusal of a plan without a signature where only signed ones are applied."""
    return _refusal(
        "plan-unsigned",
        what,
        where,
        why="only a plan that was made with the key in RECONCILER_PLAN_KEY is applied here.",
        fix=f"where that key is set, {_REMAKE}",
    )


def _refusal(code: str, what: str, where: str, *, why: str = "", fix: str = _REMAKE) -> StateError:
    return StateError(Problem(code, what, why=why, fix=fix, where=where))


def _told(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}"
    return str(error) or type(error).__name__


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if _is_cut_short(data, error):
            raise _refusal(
                "plan-truncated",
                f'"{where}" ends after {len(data):,} bytes, in the middle of the plan',
                where,
                why="part of the changes would be missing.",
            ) from None
        raise _refusal("plan-not-json", f'"{where}" is not JSON: {error.msg} (line {error.lineno})', where) from None
    if not isinstance(document, dict):
        raise _refusal("plan-not-a-plan", f'"{where}" is JSON, but not a plan', where)
    return document


def _is_cut_short(data: bytes, error: orjson.JSONDecodeError) -> bool:
    """Whether the text is the beginning of a JSON object whose rest is missing."""
    if not data.lstrip().startswith(b"{"):
        return not data.strip()
    try:
        text = data.decode()
    except UnicodeDecodeError as broken:
        return broken.reason == "unexpected end of data"
    # Inside a cut string, number or word the error stands where that began.
    return "end of data" in error.msg or error.pos >= len(text.rstrip())


def _check_version(document: dict[str, Any], where: str) -> None:
    version = document.get("format_version")
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None or "changes" not in document or "calls" not in document:
        raise _refusal("plan-not-a-plan", f'"{where}" is JSON, but not a plan', where)
    if int(match.group(1)) > int(FORMAT_VERSION.partition(".")[0]):
        made_by = document.get("tool_version")
        by = f" (made by reconciler {made_by})" if isinstance(made_by, str) else ""
        raise _refusal(
            "plan-newer-version",
            f'"{where}" has format version {version}{by}; this is reconciler {__version__}, '
            f"which reads up to {FORMAT_VERSION.partition('.')[0]}.x",
            where,
            why="a newer version may mean something by it that this one would not do.",
            fix="use the version that made the plan, or make a new plan with this one.",
        )


def _saved(document: dict[str, Any], digest: str) -> SavedPlan:
    target = document["target"]
    plan = Plan(
        environment=_text(document["environment"]),
        target=Target(_text(target["organization"]), _pairs(target["sources"]), _pairs(target["providers"])),
        base=StateBase(_text(document["state"]["lineage"]), _number(document["state"]["serial"])),
        changes=tuple(_change(entry) for entry in document["changes"]),
        no_op=_number(document["summary"]["no_op"]),
        hazards=tuple(_hazard(entry) for entry in document["hazards"]),
        problems=tuple(_problem(entry) for entry in document["problems"]),
        bodies=tuple(_body(entry) for entry in document["bodies"]),
        manifest_digest=_text(document["manifests"]["digest"]),
        commit=_commit(document["manifests"].get("commit", "")),
        dirty=_flag(document["manifests"].get("dirty", False)),
        selection=tuple(_text(entry) for entry in document["selection"]),
        access=_exposure(document["access"]),
        tests=_tests(document["access"].get("tests", {})),
        as_of=_instant(document["as_of"]) if "as_of" in document else "",
        holds_until=_instant(document["holds_until"]) if document.get("holds_until") is not None else "",
        expiring=tuple(_expiring(entry) for entry in document["access"].get("expiring", ())),
        rollback=tuple(_texts(document.get("rollback", []))),
        # A plan of before these were told says nothing of them.
        doubts=tuple(_doubt(entry) for entry in document.get("doubts", ())),
        blame=_blame(document["blame"]) if "blame" in document else None,
    )
    stages = tuple(
        Stage(name, tuple(_call(entry) for entry in entries))
        for (_, name), entries in groupby(
            document["calls"], key=lambda entry: (entry["stage_number"], _text(entry["stage"]))
        )
    )
    numbers = [call.number for stage in stages for call in stage.calls]
    if len(set(numbers)) < len(numbers):
        raise ValueError("two calls have the same number")
    state_only = tuple(_address(entry) for entry in document["state_only"])
    # A plan of before there were statuses tells none.
    statuses = tuple(_status(entry) for entry in document.get("statuses", ()))
    # Nor did plans always say when identity changes take effect.
    effects = tuple(_effect(entry) for entry in document["access"].get("effective", ()))
    allowed = _allowance(document.get("quota") or {})
    tightened = tuple(_tightened(entry) for entry in document.get("tightened", ()))
    order = _order(document["access"].get("order", {}))
    compiled = Compiled(stages, state_only, statuses, allowed, tightened, order, effects)
    tight = {covered.address for call in compiled.calls for covered in call.covers if covered.verb is Verb.TIGHTEN}
    if tight != {resource.address for resource in tightened}:
        raise ValueError("what is tightened is not what the calls say")
    return SavedPlan(plan, compiled, digest, _text(document["tool_version"]), signed="signature" in document)


def _tightened(entry: dict[str, Any]) -> Resource:
    resource = _resource(_address(entry["address"]), entry)
    assert resource is not None
    return resource


def _order(entry: dict[str, Any]) -> Order:
    transients = tuple(
        Transient(
            since=_number(each["since"]),
            until=_number(each["until"]),
            source=_text(each["source"]),
            items=_number(each["items"]),
            examples=tuple(map(_address, _texts(each["examples"]))),
            people=_number(each["people"]),
            identities=tuple(_texts(each["identities"])),
            public=_flag(each["public"]),
        )
        for each in entry.get("transients", ())
    )
    return Order(_flag(entry.get("checked", False)), _number(entry.get("extra_calls", 0)), transients)


def _exposure(entry: dict[str, Any]) -> bytes:
    """Return what is told of access as it was written, held to the shape that rendering needs."""
    if "totals" not in entry:
        return b""
    for side in ("gained", "lost"):
        for shift in entry[side]:
            _items_told(shift)
            if _text(shift["kind"]) not in _SHIFTS:
                raise ValueError(f"items are not {shift['kind']!r}")
            _number(shift["people"])
            for identity in (*_texts(shift["identities"]), *_texts(shift.get("persons", []))):
                parse_identity(identity)
            _texts(shift["because"])
            # A plan of before these were told says nothing of them.
            _texts(shift.get("domains", []))
            _flag(shift.get("public", False))
            _number(shift.get("more_causes", 0))
    for hazard in entry["hazards"]:
        _items_told(hazard)
        _text(hazard["name"])
        _text(hazard.get("subject", ""))
        _number(hazard.get("people", 0))
        _flag(hazard.get("allowed", False))
    for said in entry["causes"].values():
        _texts(said["gone"])
        _texts(said["new"])
    for total in _TOTALS:
        _number(entry["totals"][total])
    _flag(entry.get("complete", True))
    for side in ("gained", "lost"):
        _number(entry.get("more", {}).get(side, 0))
    return canonical_json({key: entry[key] for key in _EXPOSURE if key in entry})


def _effect(entry: dict[str, Any]) -> IdentityEffect:
    every = entry["refresh_every"]
    if every is not None and not _number(every):
        raise ValueError("nothing is refreshed every 0 seconds")
    return IdentityEffect(_text(entry["provider"]), _number(entry["calls"]), _number(entry["changes"]), every)


def _expiring(entry: dict[str, Any]) -> Expiring:
    address, state = _text(entry["address"]), entry["state"]
    if state not in ("lapsed-live", "lapses"):
        raise ValueError(f"no grant is {state!r}")
    if not address.startswith(MODELS):
        _address(address)
    parse_identity(_text(entry["entry"]))
    return Expiring(
        address, entry["entry"], _instant(entry["expires"]), _text(entry["file"]), _number(entry["line"]), state
    )


def _doubt(entry: dict[str, Any]) -> Doubt:
    doubt = Doubt(
        run=_text(entry["run"]),
        call=_number(entry["call"]),
        at=_text(entry["sent_at"]),
        answered=_flag(entry["answered"]),
        ended=_flag(entry["run_ended"]),
        detail=_text(entry["detail"]),
        addresses=tuple(map(_address, _texts(entry["addresses"]))),
        sent=_number(entry["sent_again"]),
        deleted=_number(entry["deleted_again"]),
    )
    if doubt.sent + doubt.deleted > len(doubt.addresses):
        raise ValueError("more is sent again than is in doubt")
    return doubt


def _blame(document: dict[str, Any]) -> Blame:
    return Blame(
        tuple(
            Origin(
                address=_address(entry["address"]),
                path=tuple(_texts(entry["path"])),
                file=_text(entry["file"]),
                line=0 if entry["line"] is None else _number(entry["line"]),
                commit=_commit("" if entry["commit"] is None else entry["commit"]),
                edited=_flag(entry["edited"]),
            )
            for entry in document["origins"]
        ),
        _number(document["left_out"]),
    )


def _instant(value: Any) -> str:
    if instant_text(parse_instant(_text(value))) != value:
        raise ValueError(f"{value!r} is no instant as plans write it")
    return _text(value)


def _tests(entry: dict[str, Any]) -> AccessTests:
    # A plan of before tests ran in plans tells of none.
    tests = AccessTests(_number(entry.get("run", 0)), _number(entry.get("failed", 0)))
    if tests.failed > tests.run:
        raise ValueError("more access tests fail than ran")
    return tests


def _items_told(entry: dict[str, Any]) -> None:
    _text(entry["source"])
    _number(entry["items"])
    for address in _texts(entry["examples"]):
        _address(address)


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list):
        raise TypeError("a list expected")
    return [_text(value) for value in values]


def _allowance(entry: dict[str, Any]) -> Allowance:
    limits = {name: entry.get(name) for name in ("calls_per_day", "burst_calls", "items_per_day")}
    known = {name: _number(value) for name, value in limits.items() if value is not None}
    known["burst_seconds"] = _number(entry.get("burst_seconds", UNLIMITED.burst_seconds))
    if not all(known.values()):
        raise ValueError("a quota of nothing")
    return replace(UNLIMITED, **known)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


def _commit(value: Any) -> str:
    if not _COMMIT.fullmatch(_text(value)):
        raise ValueError(f"not a commit: {value!r}")
    return _text(value)


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("a count expected")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false expected")
    return value


def _pairs(value: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, _text(entry)) for key, entry in value.items()))


def _address(value: Any) -> Address:
    address = Address(_text(value))
    if address.count("/") < 2 or not address.kind:  # .kind raises ValueError for an unknown one
        raise ValueError(f"not an address: {value!r}")
    return address


def _change(entry: dict[str, Any]) -> Change:
    address = _address(entry["address"])
    moved_from, moved_to = entry.get("moved_from"), entry.get("moved_to")
    change = Change(
        address=address,
        action=Action(entry["action"]),
        reason=_text(entry["reason"]),
        before=_resource(address, entry["before"]),
        after=_resource(address, entry["after"]),
        moved_from=None if moved_from is None else _address(moved_from),
        moved_to=None if moved_to is None else _address(moved_to),
    )
    if (change.after is None) is not (change.action is Action.DELETE):
        raise ValueError(f"a {change.action.value} that does not say what will be: {address}")
    return change


def _resource(address: Address, entry: dict[str, Any] | None) -> Resource | None:
    if entry is None:
        return None
    doc, shared = entry["doc"], entry["shared"]
    if not isinstance(doc, dict) or not (shared is None or isinstance(shared, dict)):
        raise TypeError("a document expected")
    return Resource(address, canonical_json(doc), b"" if shared is None else canonical_json(shared))


def _call(entry: dict[str, Any]) -> Call:
    method, path = _text(entry["method"]), _path(_text(entry["path"]))
    if method not in _METHODS:
        raise ValueError(f"no call has the method {method!r}")
    call = Call(
        number=_number(entry["number"]),
        kind=CallKind(entry["kind"]),
        method=method,
        path=path,
        query=tuple((_text(name), _text(value)) for name, value in entry["query"]),
        scope=_text(entry["scope"]),
        covers=tuple(_covered(cover) for cover in entry["covers"]),
        size=_number(entry["size"]),
        after=tuple(_number(number) for number in entry.get("after", ())),
        containers=_number(entry.get("containers", 0)),
        chunks=tuple(_number(count) for count in entry.get("chunks", ())),
    )
    if any(number >= call.number for number in call.after):
        raise ValueError(f"call {call.number} would wait for a later one")
    if call.chunks and sum(call.chunks) > len(call.covers):
        raise ValueError(f"call {call.number} would send more than it settles")
    return call


def _covered(cover: dict[str, Any]) -> Covered:
    fields = tuple(_text(name) for name in cover.get("fields", ()))
    return Covered(_address(cover["address"]), Verb(cover["verb"]), fields)


def _status(entry: dict[str, Any]) -> SourceStatus:
    return SourceStatus(_text(entry["source"]), _status_type(_text(entry["status"])), _path(_text(entry["path"])))


def _status_type(text: str) -> str:
    if text not in ("REBUILD", "REFRESH", "INCREMENTAL"):
        raise ValueError(f"no source can be {text!r}")
    return text


def _path(path: str) -> str:
    # Decoded as well: a server may take dots for what they are not here, however they are written.
    if not _CALL_PATH.fullmatch(path) or {"..", "."} & set(unquote(path).split("/")):
        raise ValueError(f"no call goes to {path!r}")
    return path


def _hazard(entry: dict[str, Any]) -> Hazard:
    return Hazard(
        name=_text(entry["name"]),
        what=_text(entry["what"]),
        why=_text(entry["why"]),
        fix=_text(entry["fix"]),
        subject=_text(entry["subject"]),
        count=_number(entry["count"]),
        addresses=tuple(_text(address) for address in entry["addresses"]),
        allowed=_flag(entry["allowed"]),
        people=_number(entry.get("people", 0)),
        liftable=_flag(entry.get("liftable", True)),
    )


def _problem(entry: dict[str, Any]) -> Problem:
    return Problem(
        code=_text(entry["code"]),
        what=_text(entry["what"]),
        why=_text(entry["why"]),
        fix=_text(entry["fix"]),
        position=None if entry["file"] is None else _position(entry),
        where=_text(entry["where"]),
        severity=Severity(entry["severity"]),
        related=tuple(Related(_position(other), _text(other["what"])) for other in entry["related"]),
    )


def _position(entry: dict[str, Any]) -> Position:
    return Position(_text(entry["file"]), _number(entry["line"]), _number(entry["column"]), _number(entry["length"]))


def _body(entry: dict[str, Any]) -> BodyRef:
    sha256, path = _text(entry["sha256"]), entry["path"]
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"not a digest: {sha256!r}")
    if path is not None:
        parts = _text(path).replace("\\", "/").split("/")
        if "\0" in path or ".." in parts or parts[0] == "" or re.fullmatch("[A-Za-z]:.*", parts[0]):
            raise ValueError(f"the content file {path!r} is outside the project's folder")
    return BodyRef(sha256, _number(entry["size"]), path)
