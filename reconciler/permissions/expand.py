"""The definition, first half: which identities a person has (push-api.md 3.6).

Written to be read beside the document: one walk from where the person logs in. `permissions.graph`
answers the same for everybody at once and is held against this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.model.states import Resource
from reconciler.permissions.facts import How, facts_of
from reconciler.permissions.readings import Readings


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """Whoever has the first identity has the second."""

    start: str
    how: How
    end: str


@dataclass(frozen=True, slots=True)
class Person:
    """Everything somebody is: the key of each identity, with the step that led there, None at the start."""

    start: str
    steps: Mapping[str, Step | None]

    def has(self, key: str) -> bool:
        """Return whether this is one of the person's identities."""
        return key in self.steps

    def chain(self, key: str) -> tuple[Step, ...]:
        """Return the shortest way from where the person logs in to one of their identities."""
        steps = []
        while (step := self.steps[key]) is not None:
            steps.append(step)
            key = step.start
        return tuple(reversed(steps))


class Directory:
    """The identities of all providers, as pushed."""

    def __init__(self, resources: Iterable[Resource], readings: Readings) -> None:
        """Read groups, virtual groups, users and aliases; items among the resources are passed over."""
        self.readings = readings
        self._names: dict[str, str] = {}
        self._steps: dict[str, set[Step]] = {}
        self._resolved: set[str] = set()
        self._members: set[str] = set()
        for resource in resources:
            if not resource.address.startswith("item/"):
                self._add(resource)

    def _add(self, resource: Resource) -> None:
        facts = facts_of(resource)
        self._resolved.update(map(self._named, facts.resolved))
        self._members.update(map(self._named, facts.members))
        for start, end, how in facts.belongs:
            self._step(start, how, end)
        for one, other in facts.same:
            self._step(one, How.ALIAS, other)
            self._step(other, How.ALIAS, one)

    def _step(self, start: str, how: How, end: str) -> None:
        step = Step(self._named(start), how, self._named(end))
        self._steps.setdefault(step.start, set()).add(step)

    def _named(self, identity: str) -> str:
        key = self.key(identity)
        self._names[key] = min(identity, self._names.get(key, identity))
        return key

    def key(self, identity: str) -> str:
        """Return the key of a canonical identity."""
        return self.readings.key(identity)

    def resolved(self, key: str) -> bool:
        """Return whether the remote knows an identity, rather than only its name (push-api.md 3.6)."""
        if key in self.readings.unresolved:
            return False
        if self.readings.needs_no_push(key) or key in self._resolved:
            return True
        return self.readings.members_resolve and key in self._members

    def person(self, identity: str) -> Person:
        """Return who somebody is that logs in as `identity`, a canonical one.

        Each identity adds its aliases, the groups that list it, those it lists as well-knowns, and the patterns
        of its email address. Cycles end where they began: an identity is visited once.
        """
        return self._walk(self.key(identity), everybody=True)

    def anonymous(self) -> Person:
        """Return who somebody is that did not log in: in the pattern `*@*`, and where that belongs."""
        return self._walk(self.readings.everybody, everybody=False)

    def _walk(self, start: str, *, everybody: bool) -> Person:
        found: dict[str, Step | None] = {start: None}
        waiting = [start]
        for key in waiting:
            for step in sorted(self._from(key)):
                if step.end not in found:
                    found[step.end] = step
                    waiting.append(step.end)
            # Last, so that what somebody is by name comes before what everybody is.
            if everybody and key == waiting[-1] and self.readings.everybody not in found:
                found[self.readings.everybody] = Step(start, How.EVERYBODY, self.readings.everybody)
                waiting.append(self.readings.everybody)
        return Person(start, found)

    def _from(self, key: str) -> set[Step]:
        pattern = self.readings.domain_pattern(key)
        near = self._steps.get(key, set())
        return near | {Step(key, How.PATTERN, pattern)} if pattern else near

    def name(self, key: str) -> str:
        """Return an identity as it was written; of several ways, the first by the alphabet."""
        return self._names.get(key, key)
