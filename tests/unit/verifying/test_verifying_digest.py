"""A digest in a field that is shown: what it proves of a push, and what its absence says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.digestfield import carried_digest, carried_metadata, item_digest, without_digest
from reconciler.planning.fields import Field, Fields, Rule
from reconciler.state.rows import RecordedRow
from reconciler.verifying.compare import digest_shown, judge_item
from reconciler.verifying.findings import Status
from reconciler.verifying.seen import SeenItem
from tests.builders import item

SENT = 1_800_000_000_123
URI = "https://example.com/a"
ITEM = item(URI, title="A", digestField="seal", body={"encoding": "text", "sha256": "0" * 64, "size": 1})
ROW = RecordedRow(ITEM.address, ITEM.doc, ITEM.shared, SENT, "2027-01-15T08:00:00.123Z", "run")
FIELDS = Fields({"seal": Field("seal", "STRING")}, {})
GOOD = item_digest(ITEM)


def seen(digest: str | None, indexed: int | None = None) -> SeenItem:
    values: dict[str, Any] = {} if digest is None else {"seal": digest}
    return SeenItem("handle", None, indexed, values)


@pytest.mark.parametrize("indexed", [None, SENT - 86_400_000, SENT + 1])
def test_the_right_digest_says_that_what_was_pushed_is_there_whenever_it_was_indexed(indexed: int | None) -> None:
    finding = judge_item(ROW, seen(GOOD, indexed), None, None, FIELDS)
    assert (finding.status, finding.arrived) == (Status.VERIFIED, True)


@pytest.mark.parametrize("digest", [None, "", "0" * 32])
def test_another_digest_is_another_item(digest: str | None) -> None:
    finding = judge_item(ROW, seen(digest, SENT + 1), None, None, FIELDS)
    assert (finding.status, finding.code) == (Status.DIFFERENT, "fields-differ")
    assert finding.what.startswith('the index shows other content than was pushed: the digest in the field "seal" is ')


def test_an_older_version_is_told_as_that() -> None:
    finding = judge_item(ROW, seen("0" * 32, SENT - 86_400_000), None, None, FIELDS)
    assert (finding.status, finding.code) == (Status.MISSING, "outdated")


@pytest.mark.parametrize(
    "fields",
    [
        None,
        Fields({}, {}),
        Fields({"seal": Field("seal", "LONG")}, {}),
        Fields({"seal": Field("seal", "STRING", shown=False)}, {}),
        Fields({"seal": Field("seal", "STRING")}, {"handbook": (Rule("seal", ("%[author]",)),)}),
    ],
)
def test_a_field_that_does_not_show_it_for_sure_proves_nothing(fields: Fields | None) -> None:
    assert digest_shown(ROW, seen(GOOD), fields) is None
    assert judge_item(ROW, seen(GOOD), None, None, fields).arrived is None


def test_a_digest_is_of_all_that_is_pushed_and_of_nothing_else() -> None:
    others = [
        item(URI, title="B", digestField="seal"),
        item(URI, title="A", digestField="seal"),
        item(URI, title="A", digestField="seal", metadata={"a": 1}),
        item(URI, title="A", digestField="seal", allowed=["group/corp/Staff"]),
    ]
    assert len({item_digest(other) for other in (ITEM, *others)}) == 5
    protected = item(URI, title="B", digestField="seal", protect=True)
    assert item_digest(protected) == item_digest(others[0])
    assert carried_metadata(protected) == {"seal": item_digest(protected)}


def test_an_item_without_one_carries_none() -> None:
    bare = item(URI, title="A")
    assert (carried_digest(bare), carried_metadata(bare)) == (None, {})
    assert without_digest(item(URI, title="A", digestField="seal")) == bare
    assert digest_shown(replace(ROW, doc=bare.doc), seen(None), FIELDS) is None
