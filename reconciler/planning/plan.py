"""The plan: a value made before anything runs, that can be printed, saved and applied verbatim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reconciler.model.address import Address
from reconciler.model.states import StateBase, Target
from reconciler.planning.change import Action, Change
from reconciler.problems import Problem


@dataclass(frozen=True, slots=True)
class Hazard:
    """A named risk in a plan that must be allowed by its name before the plan is applied.

    `subject` narrows the name (`item/handbook`), `addresses` are at most a few examples of the
    `count` that it concerns. `people` are those whom it lets see something, or keeps from it. One that is not
    `liftable` blocks whatever is allowed.
    """

    name: str
    what: str
    why: str
    fix: str
    subject: str = ""
    count: int = 0
    addresses: tuple[str, ...] = ()
    allowed: bool = False
    people: int = 0
    liftable: bool = True


@dataclass(frozen=True, slots=True)
class BodyRef:
    """Where the bytes of a body come from: a content file, or (path None) the manifest itself.

    `path` is relative to the project's folder, `sha256` in hex, `size` in bytes.
    """

    sha256: str
    size: int
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Expiring:
    """A grant that is over and still live, or that ends soon.

    `address` gives it to the identity `entry` (`model.grant`), on that line of that file, until `expires`, an
    instant in UTC. It is `lapsed-live` when the recorded state still has it, and `lapses` before its end.
    """

    address: str
    entry: str
    expires: str
    file: str
    line: int
    state: Literal["lapsed-live", "lapses"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call of an earlier run whose outcome is unknown, and what the plan does about it.

    It was sent at `at` (ISO-8601, UTC). `answered` says that the run noted why it does not know (`detail`), else the
    run died, or is under way unless it `ended`. `addresses` are those still in doubt, sorted: the plan sends `sent`
    of them again, deletes `deleted`, and leaves the others alone.
    """

    run: str
    call: int
    at: str
    answered: bool
    ended: bool
    detail: str
    addresses: tuple[Address, ...]
    sent: int
    deleted: int


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where the manifests say a value of what changes, and the commit that it came with.

    `path` is that of the field, empty for the resource as a whole. `file` is relative to the project's folder, `line`
    is from 1, or 0 where the value is a whole file. `commit` is in hex, empty where git does not know it; `edited`
    says that the line is of no commit yet.
    """

    address: str
    path: tuple[str, ...]
    file: str
    line: int
    commit: str = ""
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Blame:
    """The origins of what changes, sorted; of `left_out` more changes nobody looked for them."""

    origins: tuple[Origin, ...] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class AccessTests:
    """How many access tests ran on what the manifests ask for, and how many of them failed.

    Each that failed is also an error among the plan's problems.
    """

    run: int = 0
    failed: int = 0


NO_TESTS = AccessTests()


@dataclass(frozen=True, slots=True)
class Plan:
    """What will change, from which state, and what is risky about it.

    `changes` are sorted by address and hold no no-ops, which are only counted. `bodies` are the
    bodies that the changes need, sorted by digest. `manifest_digest` names the manifests (empty for
    `destroy`), `selection` the addresses or patterns that the plan was narrowed to. `access` is who gains and who
    loses sight of what, as canonical JSON (`rendering.exposuredoc`), empty when no change can alter that.
    `tests` says how many access tests ran and failed, on the whole desired state whatever the selection.

    Where any grant of the manifests ends, `as_of` is the instant for which they were read (`2027-01-31T00:00:00Z`)
    and `holds_until` the next at which one ends, empty when none does; `expiring` holds what is over and still
    live and what ends soon, by when it ends. Otherwise these are empty.

    `commit` is the git commit of the manifests, in hex, empty where none is known, and for what is not of manifests;
    `dirty` says that the project's folder held something else than it.

    `doubts` are the calls of earlier runs whose outcome is unknown, oldest first.

    `blame` is where what changes comes from, where somebody asked for it.

    `rollback` is empty but for a plan that undoes what runs did: the options of `rollback` that make it anew.
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
    tests: AccessTests = NO_TESTS
    as_of: str = ""
    holds_until: str = ""
    expiring: tuple[Expiring, ...] = ()
    rollback: tuple[str, ...] = ()
    commit: str = ""
    dirty: bool = False
    doubts: tuple[Doubt, ...] = ()
    blame: Blame | None = None

    def count(self, action: Action) -> int:
        """Return how many changes do `action`."""
        return sum(change.action is action for change in self.changes)

    @property
    def blocked_by(self) -> tuple[Hazard, ...]:
        """The hazards that nobody has allowed."""
        return tuple(hazard for hazard in self.hazards if not hazard.allowed)
