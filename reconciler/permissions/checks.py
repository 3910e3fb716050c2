"""Access tests held against who sees what: which pass, and for those that do not, who sees or misses which item.

What must be seen is looked at under the closed reading of the documents (`permissions.readings`). What must not be
seen is looked at under the widest one, too: a denied identity that nobody declared hides an item only for as long
as that reading is right, and no test passes for its sake. It knows nothing of files, and explains nothing: a finding
names one item and one person, of whom `permissions.evaluate` says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

from pyroaring import BitMap

from reconciler.model.accesstest import AccessTest
from reconciler.model.states import Resource
from reconciler.permissions.facts import facts_of
from reconciler.permissions.readings import STRANGER, is_person
from reconciler.permissions.relation import Relation

EXAMPLES = 5
"""How many findings of one kind a test tells; the others are counted."""


class Kind(StrEnum):
    """What is wrong."""

    SEEN = "seen"
    """Somebody sees an item who must not."""
    UNSEEN = "unseen"
    """Somebody does not see an item who must."""
    NO_ITEM = "no-item"
    """A pattern matches no item: it tests nothing."""
    NOBODY = "nobody"
    """A pattern or a group has nobody in it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with what a test asks for.

    `subject` is the pattern for `no-item` and `nobody`, else the item's address. `identity` is whom it is about,
    canonical; None is whoever did not log in. `stranger` says that it stands for everybody of a domain of whom
    nothing is known. `certain` is false where it holds under the widest reading alone.
    """

    kind: Kind
    subject: str
    identity: str | None = None
    stranger: bool = False
    certain: bool = True


@dataclass(slots=True)
class Result:
    """What came of a test: examples of what is wrong, and how much is, by kind.

    Of `seen` and `unseen` the count is of pairs of a person and an item, of the others it is of patterns. `unknown`
    are those of `who` of whom nothing is known: a mistyped name sees nothing, either.
    """

    test: AccessTest
    findings: list[Finding] = field(default_factory=list)
    counts: dict[Kind, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts

    def found(self, kind: Kind, number: int, findings: Iterable[Finding]) -> None:
        """Note that `number` things are wrong, and as many of them as are told."""
        told = sum(finding.kind is kind for finding in self.findings)
        self.counts[kind] = self.counts.get(kind, 0) + number
        self.findings += islice(findings, max(0, EXAMPLES - told))


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much there is, and how much of it no test speaks of; people as persons, whatever their aliases."""

    items: int
    items_untested: int
    people: int
    people_untested: int


@dataclass(frozen=True, slots=True)
class _People:
    """People who are known, and people by the name that they log in with; None did not log in."""

    known: BitMap
    named: tuple[str | None, ...] = ()


def widened(relation: Relation) -> Relation:
    """Return the same relation under the widest reading; bitmaps of people mean the same in both."""
    wide = relation.copy()
    wide.readings = relation.readings.widest()
    wide.add_identities(())  # what was evaluated under the other reading is dropped
    return wide


class Checks:
    """Runs tests against one state.

    `addresses` are those of all of its resources, which `resources` returns: items where a test has a `where`,
    the others where one speaks of groups.
    """

    def __init__(
        self,
        relation: Relation,
        addresses: Iterable[str],
        resources: Callable[[Iterable[str]], Mapping[str, Resource]],
    ) -> None:
        self._strict = relation
        self._wide = widened(relation)
        self._items: list[str] = []
        self._others: list[str] = []
        for address in addresses:
            (self._items if address.startswith("item/") else self._others).append(address)
        self._resources = resources
        self._known_names: dict[str, str] | None = None
        self._known_strangers: list[str] | None = None
        self._tested_items: set[str] = set()
        self._tested_people = BitMap()

    def run(self, test: AccessTest) -> Result:
        """Return what comes of a test."""
        result = Result(test)
        people = self._people(test.who, result)
        for number, items in self._matching(test.can_view, result):
            self._must_see(number, items, people, result)
        for number, items in self._matching(test.cannot_view, result):
            self._must_not_see(number, items, people, result)
        if test.only_visible_to is not None:
            allowed = [name for identity in test.only_visible_to for name in self._named_like(identity)]
            may = {found for name in allowed if (found := self._wide.graph.find(name)) is not None}
            allowed_people = self._wide.people_of(allowed)
            self._tested_people |= allowed_people
            for number, items in self._matching(test.items or ("**",), result):
                self._only_visible(number, items, allowed_people, may, result)
        return result

    def coverage(self) -> Coverage:
        """Return what no test spoke of that was run so far."""
        people = self._strict.count(self._strict.graph.people)
        tested = self._strict.count(self._tested_people)
        return Coverage(len(self._items), len(self._items) - len(self._tested_items), people, people - tested)

    def untested_items(self) -> list[str]:
        """Return the addresses of the items that no test spoke of that was run so far, sorted."""
        return sorted(set(self._items) - self._tested_items)

    def untested_people(self) -> list[str]:
        """Return a name for each person that no test spoke of that was run so far, sorted."""
        return self._names_of(self._strict.graph.people - self._tested_people)

    # What a test is about

    def _people(self, who: Iterable[str], result: Result) -> _People:
        known, named = BitMap(), list[str | None]()
        for identity in who:
            people, logins = self._one(identity)
            if not people and not logins:
                result.found(Kind.NOBODY, 1, [Finding(Kind.NOBODY, identity)])
            known |= people
            named += logins
            if identity in logins and self._strict.graph.find(identity) is None:
                result.unknown.append(identity)
            self._tested_people |= self._strict.people_of(name for name in logins if name) | people
        return _People(known, tuple(dict.fromkeys(named)))

    def _one(self, identity: str) -> tuple[BitMap, list[str | None]]:
        """Return the people of one of `who`: the known ones, and logins."""
        relation, key = self._strict, self._strict.readings.key(identity)
        if "*" not in key and is_person(key):
            # By its name: it may be known to nobody, and it is how the test speaks of the person.
            return BitMap(), [identity]
        names = self._named_like(identity)
        groups = {found for name in names if (found := relation.graph.find(name)) is not None}
        logins = [login for login in (None, *self._strangers()) if not groups.isdisjoint(relation.held_by(login))]
        stranger = relation.readings.stranger(key)
        if stranger and stranger not in logins:
            logins.append(stranger)
        return relation.people_of(names), logins

    def _named_like(self, identity: str) -> list[str]:
        """Return the identities that one with `*` in its name stands for; a pattern of the remote is a name itself."""
        readings = self._strict.readings
        key = readings.key(identity)
        if "*" not in key or key.startswith(f"group/{readings.email_provider}/*@"):
            return [identity]
        matches = re.compile(".*".join(map(re.escape, key.split("*"))), re.DOTALL).fullmatch
        return [name for known, name in self._names().items() if matches(known)]

    def _names(self) -> dict[str, str]:
        if self._known_names is None:
            groups = (address for address in self._others if not address.startswith("alias/"))
            people = self._strict.names(self._strict.graph.people)
            self._known_names = {self._strict.readings.key(name): name for name in (*groups, *people)}
        return self._known_names

    def _strangers(self) -> list[str]:
        """Return somebody of whom nothing is known for every domain that a pattern covers, in order."""
        if self._known_strangers is None:
            relation, readings = self._strict, self._strict.readings
            facts = map(facts_of, self._resources(self._others).values())
            named = {identity for fact in facts for start, end, _ in fact.belongs for identity in (start, end)}
            classes = {relation.class_of(address) for address in self._items}
            numbers = {who for number in classes if number is not None for who in relation.named_in(number)}
            named.update(map(relation.graph.name, numbers))
            found = {readings.stranger(readings.key(identity)) for identity in named}
            self._known_strangers = sorted(stranger for stranger in found if stranger)
        return self._known_strangers

    def _matching(self, patterns: Iterable[str], result: Result) -> list[tuple[int, list[str]]]:
        """Return the items that the patterns match, by class and in order. A pattern that matches none is noted."""
        found: set[str] = set()
        for pattern in patterns:
            items = list(filter(item_matcher(pattern), self._items))
            if result.test.where:
                items = self._having(items, result.test.where)
            if not items:
                result.found(Kind.NO_ITEM, 1, [Finding(Kind.NO_ITEM, pattern)])
            found.update(items)
        self._tested_items |= found
        classes: dict[int, list[str]] = {}
        for address in sorted(found):
            number = self._strict.class_of(address)
            assert number is not None
            classes.setdefault(number, []).append(address)
        return list(classes.items())

    def _having(self, items: list[str], where: Mapping[str, Any]) -> list[str]:
        resources = self._resources(items)
        return [address for address in items if _has(resources[address].own().get("metadata", {}), where)]

    # Judging

    def _must_see(self, number: int, items: Sequence[str], people: _People, result: Result) -> None:
        relation = self._strict
        known = people.known - relation.audience_of(number).among(people.known)
        named = [login for login in people.named if not relation.sees(login, items[0])]
        self._note(Kind.UNSEEN, items, _People(known, tuple(named)), result)

    def _must_not_see(self, number: int, items: Sequence[str], people: _People, result: Result) -> None:
        known = self._wide.audience_of(number).among(people.known)
        named = [login for login in people.named if self._wide.sees(login, items[0])]
        self._note(Kind.SEEN, items, _People(known, tuple(named)), result)

    def _only_visible(self, number: int, items: Sequence[str], allowed: BitMap, may: set[int], result: Result) -> None:
        wide = self._wide
        if not may.isdisjoint(wide.graph.anonymous):
            return
        known = wide.audience_of(number).among(wide.graph.people) - allowed
        # Whom nobody declared sees what is open to everybody, and what is open to a domain.
        logins: list[str | None] = [None, *self._strangers()] if not wide.sees(None, items[0]) else [None]
        seeing = [login for login in logins if wide.sees(login, items[0]) and may.isdisjoint(wide.held_by(login))]
        self._note(Kind.SEEN, items, _People(known, tuple(seeing)), result)

    def _note(self, kind: Kind, items: Sequence[str], people: _People, result: Result) -> None:
        known = self._strict.count(people.known)
        if number := len(items) * (len(people.named) + known):
            result.found(kind, number, self._findings(kind, items, people))

    def _findings(self, kind: Kind, items: Sequence[str], people: _People) -> Iterator[Finding]:
        names = [*people.named, *self._names_of(people.known, EXAMPLES)]
        for address in items:
            for name in names:
                certain = self._strict.sees(name, address) is (kind is Kind.SEEN)
                yield Finding(kind, address, name, name is not None and STRANGER in name, certain)

    def _names_of(self, people: BitMap, most: int | None = None) -> list[str]:
        """Return a name for each of at most so many persons, one outside of the email provider where there is one."""
        graph = self._strict.graph
        outside = f"/{self._strict.readings.email_provider}/"
        firsts = islice(people & graph.firsts, most)
        mates = ([graph.name(mate) for mate in graph.mates(first)] for first in firsts)
        return sorted(min(names, key=lambda name: (outside in name, name)) for names in mates)


def item_matcher(pattern: str) -> Callable[[str], bool]:
    """Return what says whether an item's address, or the uri in it, matches a pattern."""
    if "*" not in pattern:
        return lambda address: address == pattern or address.split("/", 2)[2] == pattern
    matches = re.compile(_expression(pattern), re.DOTALL).fullmatch
    if pattern.startswith("item/"):
        return lambda address: matches(address) is not None
    return lambda address: matches(address.split("/", 2)[2]) is not None


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern, which takes no more than quadratic time to say no.

    The first place that a text between two stars is found at is never worse than a later one, so no star is tried
    again: each is an atomic group together with the text behind it, up to the next `**`.
    """
    first, *chunks = pattern.split("**")
    if not chunks:
        return _within(first, is_last=True)
    *middle, last = chunks
    between = "".join(f"(?>.*?{_within(chunk)})" for chunk in middle)
    return f"{_within(first)}{between}.*{_within(last, is_last=True)}"


def _within(chunk: str, *, is_last: bool = False) -> str:
    """Return the expression of what stands between two `**`; the text of the last one ends where the pattern ends."""
    first, *texts = map(re.escape, chunk.split("*"))
    stars = [f"(?>[^/]*?{text})" for text in texts]
    if stars and is_last:
        stars[-1] = f"[^/]*{texts[-1]}"
    return first + "".join(stars)


def _has(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    return all(key in metadata and _covers(metadata[key], wanted) for key, wanted in where.items())


def _covers(value: Any, wanted: Any) -> bool:
    """Return whether a value is, or a list has, all that is wanted; a boolean is no number."""
    values = value if isinstance(value, list) else [value]
    return all(
        any(one == each and isinstance(one, bool) is isinstance(each, bool) for one in values)
        for each in (wanted if isinstance(wanted, list) else [wanted])
    )
