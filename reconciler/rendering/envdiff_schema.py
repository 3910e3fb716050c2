"""The JSON Schema of what `diff` reports of two environments, made from models of it.

Only for publishing and for tests, as `rendering.report_schema`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from reconciler.rendering.plan_schema import CauseDocument, ExposureTotalsDocument, MoreDocument, ShiftDocument

_ADDRESS = r"^(item|group|virtual-group|user|alias)/[^/]+/"


class _Model(BaseModel):
    # A later minor version may add keys, and a reader ignores them: so does the schema.
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, populate_by_name=True)


class SettingDocument(_Model):
    """A setting that manifests or access depend on, and that is not the same; ids are none."""

    what: str
    """`variable`, `source` or `provider`."""
    name: str
    """A variable's name, or NAME.SETTING."""
    from_: str = Field(alias="from")
    """Its value in the first environment; empty where it has none."""
    to: str
    """Its value in the second."""


class FieldDocument(_Model):
    """A field that is not the same for another reason than variables."""

    path: list[str]
    from_: Any = Field(alias="from")
    """Null where the first environment has none; its variables are replaced by those of the second."""
    to: Any
    """Null where the second has none."""


class DifferingDocument(_Model):
    """A resource of both environments that is not the same."""

    address: str = Field(pattern=_ADDRESS)
    """In the second environment."""
    from_address: str = Field(pattern=_ADDRESS)
    """In the first, where a variable may spell it otherwise."""
    fields: list[FieldDocument]


class SpelledDocument(_Model):
    """A resource that only variables make differ."""

    from_address: str = Field(pattern=_ADDRESS)
    address: str = Field(pattern=_ADDRESS)


class AccessDifferenceDocument(_Model):
    """Who sees what in the second environment and not in the first (gained), and the other way (lost)."""

    complete: bool
    """Whether everybody is named; otherwise the first of each, and the others are counted."""
    gained: list[ShiftDocument]
    lost: list[ShiftDocument]
    more: MoreDocument
    totals: ExposureTotalsDocument
    causes: dict[str, CauseDocument]


class DiffReport(_Model):
    """How two environments differ, as `reconciler diff` reports it."""

    format_version: str = Field(pattern=r"^1\.[0-9]+$")
    """`major.minor`. Ignore keys you do not know; refuse a major you do not know."""
    from_: str = Field(alias="from")
    """The first environment."""
    to: str
    """The second."""
    settings: list[SettingDocument]
    only_from: list[str]
    """Addresses that only the first has, sorted."""
    only_to: list[str]
    """Addresses that only the second has, sorted."""
    differing: list[DifferingDocument]
    """Sorted by address."""
    by_variables: list[SpelledDocument]
    """What only variables make differ; it is no difference for `--exit-code`."""
    unsplit: str
    """Why what variables do could not be told apart from the rest; empty where it was."""
    equal: int = Field(ge=0)
    """How many resources are the same to the byte."""
    access: AccessDifferenceDocument


def diff_schema() -> dict[str, Any]:
    """Return the JSON Schema of the report."""
    return DiffReport.model_json_schema()
