"""The plan: a value made before anything runs, that can be printed, saved and applied verbatim."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.states import StateBase, Target
from reconciler.planning.change import Action, Change
from reconciler.problems import Problem


@dataclass(frozen=True, slots=True)
class Hazard:
    """A named risk in a plan that must be allowed by its name before the plan is applied.

    `subject` narrows the name (`item/handbook`), `addresses` are at most a few examples of the
    `count` that it concerns.
    """

    name: str
    what: str
    why: str
    fix: str
    subject: str = ""
    count: int = 0
    addresses: tuple[str, ...] = ()
    allowed: bool = False


@dataclass(frozen=True, slots=True)
class BodyRef:
    """Where the bytes of a body come from: a content file, or (path None) the manifest itself.

    `path` is relative to the project's folder, `sha256` in hex, `size` in bytes.
    """

    sha256: str
    size: int
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What will change, from which state, and what is risky about it.

    `changes` are sorted by address and hold no no-ops, which are only counted. `bodies` are the
    bodies that the changes need, sorted by digest. `manifest_digest` names the manifests (empty for
    `destroy`), `selection` the addresses or patterns that the plan was narrowed to. `access` is who gains and who
    loses sight of what, as canonical JSON (`rendering.exposuredoc`), empty when no change can alter that.
    """

    environment: str
    target: Target
    base: StateBase
    changes: tuple[Change, ...] = ()
    no_op: int = 0
    hazards: tuple[Hazard, ...] = ()
    problems: tuple[Problem, ...] = ()
    bodies: tuple[BodyRef, ...] = ()
    manifest_digest: str = ""
    selection: tuple[str, ...] = ()
    access: bytes = b""

    def count(self, action: Action) -> int:
        """Return how many changes do `action`."""
        return sum(change.action is action for change in self.changes)

    @property
    def blocked_by(self) -> tuple[Hazard, ...]:
        """The hazards that nobody has allowed."""
        return tuple(hazard for hazard in self.hazards if not hazard.allowed)
