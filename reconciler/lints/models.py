"""What is wrong with permission models: entries without effect, and identities that nobody declared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pyroaring import BitMap

from reconciler.lints.people import People
from reconciler.lints.subject import Found, Model, told
from reconciler.model.place import Part, Place
from reconciler.permissions.readings import is_person

_Sets = Sequence[dict[str, Any]]


def model_findings(models: Iterable[Model], people: People) -> Iterator[Found]:
    """Yield what is wrong with permission models, in their order and that of levels and entries."""
    doubtful: dict[tuple[str, bool], str] = {}
    for model in models:
        levels = model.levels()
        for rank, level in enumerate(levels, 1):
            for identity in _named(level, "allowed"):
                if _doubt(identity, people, doubtful, denied=False):
                    yield _allowed_unresolved(model, rank, identity)
            for identity in _named(level, "denied"):
                if doubt := _doubt(identity, people, doubtful, denied=True):
                    yield _denied_nobody(model, rank, identity, people, doubt)
        if any(entry.get("denied") for level in levels for entry in level):
            yield from _always_denied(model, levels, people)


def _named(level: _Sets, part: str) -> list[str]:
    return list(dict.fromkeys(identity for entry in level for identity in entry.get(part, ())))


def _doubt(identity: str, people: People, known: dict[tuple[str, bool], str], *, denied: bool) -> str:
    """Return the code for an entry that names nobody, empty for one that names somebody."""
    key = (identity, denied)
    found = known.get(key)
    if found is None:
        found = ""
        if people.is_kept(identity):
            number = people.numbers[identity]
            if not people.graph.resolved(number):
                found = "denied-unresolved" if denied else "allowed-unresolved"
            elif denied and not is_person(identity) and not people.reach(number):
                found = "denied-nobody"
        known[key] = found
    return found


def _allowed_unresolved(model: Model, rank: int, identity: str) -> Found:
    return Found(
        "allowed-unresolved",
        f"{model.told} allows {told(identity)}, which no manifest declares and no group lists",
        "an identity that the provider does not know resolves to nobody: it lets in nobody.",
        "correct the name, or declare it: in a group, under `users`, or with an alias.",
        (Place(model.address, "allowed", rank, identity),),
    )


def _denied_nobody(model: Model, rank: int, identity: str, people: People, code: str) -> Found:
    place = Place(model.address, "denied", rank, identity)
    if code == "denied-nobody":
        return Found(
            code,
            f"{model.told} denies {told(identity)}, which nobody is in",
            "it keeps out nobody.",
            "give the group its members, or remove the entry.",
            (place,),
        )
    hides = rank == 1 and people.readings.unresolved_deny_hides_item
    return Found(
        code,
        f"{model.told} denies {told(identity)}, which no manifest declares and no group lists",
        "while a denied identity of the first level cannot be resolved, nobody sees the item (push-api.md 3.6)."
        if hides
        else "an identity that the provider does not know resolves to nobody: it keeps out nobody.",
        "correct the name, or declare it: in a group, under `users`, or with an alias.",
        (place,),
    )


def _always_denied(model: Model, levels: Sequence[_Sets], people: People) -> Iterator[Found]:
    """Yield the allowed entries of which everybody is denied, in their own level or before it."""
    for rank, denied, level in _denials(levels, people):
        if not denied:
            continue
        beaten: list[tuple[Part, str]] = []
        if any(entry.get("anonymous") for entry in level) and people.everybody.issubset(denied):
            beaten.append(("anonymous", ""))
        for identity in _named(level, "allowed"):
            number = people.numbers[identity]
            who = people.reach(number)
            if who and who.issubset(denied) and people.graph.resolved(number):
                beaten.append(("allowed", identity))
        for part, identity in beaten:
            yield Found(
                "allow-always-denied",
                f"{model.told} allows {told(identity) if identity else 'everybody'}, and denies everybody whom that "
                "would let in",
                "deny beats allow, in its own level and from an earlier one: the entry has no effect.",
                "remove the entry, or deny fewer.",
                (Place(model.address, part, rank, identity),),
            )


def _denials(levels: Sequence[_Sets], people: People) -> Iterator[tuple[int, BitMap, _Sets]]:
    """Yield each level with everybody whom it or an earlier one denies (push-api.md 3.6)."""
    if len(levels) == 1:
        yield 1, _union(people, (who for entry in levels[0] for who in _denying(entry, people))), levels[0]
        return
    denied, undecided = BitMap(), people.everybody
    for rank, level in enumerate(levels, 1):
        if not level:
            continue
        here = _union(people, (who for entry in level for who in _denying(entry, people)))
        denied = denied | (undecided & here)
        yield rank, denied, level
        if rank < len(levels):
            satisfied = [people.everybody if entry.get("anonymous") else _let_in(entry, people) for entry in level]
            undecided = undecided - here - BitMap.intersection(undecided, *satisfied)
            if people.readings.partial_level == "denied":
                undecided = undecided - BitMap.union(*satisfied)


def _denying(entry: dict[str, Any], people: People) -> Sequence[str]:
    denied: Sequence[str] = entry.get("denied", ())
    return denied if people.readings.deny_beats_anonymous or not entry.get("anonymous") else ()


def _let_in(entry: dict[str, Any], people: People) -> BitMap:
    named = people.readings.unresolved_allow == "named"
    allowed = entry.get("allowed", ())
    return _union(people, (who for who in allowed if named or people.graph.resolved(people.numbers[who])))


def _union(people: People, identities: Iterable[str]) -> BitMap:
    found = [people.reach(people.numbers[who]) for who in identities]
    return BitMap.union(*found) if len(found) > 1 else found[0] if found else BitMap()
