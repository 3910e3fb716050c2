"""The JSON Schema of the policies' input, made from models of it.

Only for publishing and for tests, as `rendering.plan_schema`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Model(BaseModel):
    # A later minor version may add keys, and a policy does not ask for them: so does the schema.
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class InputCommit(_Model):
    """The git commit of the manifests."""

    id: str | None
    """In hex; null where none is known, as of `destroy` and `rollback`."""
    dirty: bool
    """Whether the project's folder holds something else than the commit."""
    author: str | None
    """The mail address of its author, as git has it: whoever can commit can write any."""


class InputSummary(_Model):
    """How many changes do what."""

    create: int = Field(ge=0)
    update: int = Field(ge=0)
    delete: int = Field(ge=0)
    no_op: int = Field(ge=0)
    """How many resources stay as they are."""


class InputChange(_Model):
    """What happens to one resource, and why."""

    address: str = Field(pattern="^[a-z-]+/[^/]*/")
    """`kind/scope/name`."""
    kind: Literal["item", "group", "virtual-group", "user", "alias"]
    scope: str
    """The project's name of the source (items) or of the provider (all others)."""
    name: str
    """Of an item its uri."""
    action: Literal["create", "update", "delete"]
    reason: str
    """As in the plan: new, changed, removed, moved, unconfirmed, rejected, resent, drifted, forgotten, destroy."""
    file: str | None
    """The manifest that declares it; null for what goes, in a saved plan, in `destroy` and in `rollback`."""
    fields: list[str]
    """The names of what differs, such as `title`, `metadata.author`, `permissions`, `members`; sorted."""
    before: dict[str, Any] | None
    """What is recorded; null for a create, and where nobody knows whether it arrived."""
    after: dict[str, Any] | None
    """What is desired; null for a delete. Of an item also its `permissions`, null where it has none, and of its
    body the encoding and the size."""
    moved_from: str | None = None
    """On the create of a declared rename: the address it had."""
    moved_to: str | None = None
    """On the delete of a declared rename: the address it gets."""


class InputAccess(_Model):
    """How many gain and lose sight of something, as the plan counts them."""

    pairs_gained: int = Field(ge=0)
    """Pairs of a person and an item that they come to see."""
    pairs_lost: int = Field(ge=0)
    people_gained: int = Field(ge=0)
    people_lost: int = Field(ge=0)
    items_gained: int = Field(ge=0)
    items_lost: int = Field(ge=0)


class InputHazard(_Model):
    """A named risk of the plan."""

    name: str
    subject: str
    """What narrows the name, such as `item/handbook`, or nothing."""
    count: int = Field(ge=0)
    allowed: bool


class PolicyInput(_Model):
    """What a policy is asked about: `input` in Rego."""

    format_version: str = Field(pattern=r"^1\.[0-9]+$")
    """`major.minor`; within a major, keys are only added."""
    phase: Literal["plan", "apply"]
    """`apply`: this is asked right before the changes are made."""
    environment: str
    organization: str
    """Its id."""
    as_of: str | None = None
    """When it is asked, in UTC (`2027-01-31T18:00:00Z`); in the phase `plan` only where --as-of is given."""
    weekday: Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"] | None = None
    """That of `as_of`, in UTC."""
    hour: int | None = Field(default=None, ge=0, le=23)
    """That of `as_of`, in UTC."""
    commit: InputCommit
    rollback: bool
    """Whether the plan undoes what runs did."""
    selection: list[str]
    """The addresses or patterns that the plan was narrowed to."""
    summary: InputSummary
    changes: list[InputChange]
    """Sorted by address."""
    access: InputAccess
    hazards: list[InputHazard]


def policy_input_schema() -> dict[str, Any]:
    """Return the JSON Schema of the policies' input."""
    return PolicyInput.model_json_schema()
