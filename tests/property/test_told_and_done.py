"""What is told and how it ends agree (P17): changes are pending exactly where a difference is shown, in every form.

The same for drift, of an organization that somebody else changed, and for what an apply says that it did.
"""

from __future__ import annotations

import re

from estates import Estate, pairs, project, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import PROJECT, Folder, Remote

SOME = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
ALLOWED = ("deny-removed", "emptied", "emptied-group", "item-public", "item-unseen", "mass-delete")
ALLOW = tuple(word for name in ALLOWED for word in ("--allow", name))
DETAILS = ("names", "fields", "full")
TALLY = re.compile(r"Plan: ([\d,]+) to create, ([\d,]+) to update, ([\d,]+) to delete")
# What comes, changes or goes stands behind such a mark.
TOLD = re.compile(r"^\s*[+~-] ", re.MULTILINE)


def applied(folder: Folder, estate: Estate) -> None:
    write(folder, estate)
    ran = folder.run("apply", "--auto-approve", *ALLOW)
    # Manifests without anything in them are refused, and nothing is meant to be there.
    assert ran.code == 0 or not estate.sections, ran.err


@SOME
@given(pair=pairs(), same=st.booleans(), detail=st.sampled_from(DETAILS))
def test_changes_are_pending_exactly_where_one_is_shown(
    shared_remote: Remote, pair: tuple[Estate, Estate], same: bool, detail: str
) -> None:
    before, after = pair[0], pair[0] if same else pair[1]
    shared_remote.reset()
    with project(shared_remote.url) as folder:
        applied(folder, before)
        write(folder, after)
        if not after.sections:
            return
        document = folder.run("plan", "--format", "json").json
        changes = [change for change in document["changes"] if change["action"] != "no-op"]
        for change in changes:
            # A moved or an updated resource says what differs; others are or were there as a whole.
            assert change["action"] != "update" or change["fields"], change
        pending = 3 if changes else 0
        for form in ("text", "markdown"):
            ran = folder.run("plan", "--format", form, "--detail", detail, "--exit-code", *ALLOW)
            assert ran.code == pending, ran.err
            assert bool(TOLD.search(ran.out)) is bool(changes), ran.out
            assert ("No changes" in ran.out) is not bool(changes)
        text = folder.run("plan", *ALLOW).out
        if changes:
            tally = TALLY.search(text)
            assert tally is not None
            assert sum(int(number.replace(",", "")) for number in tally.groups()) == len(changes)

        total = shared_remote.total
        ran = folder.run("apply", "--auto-approve", *ALLOW)
        assert ran.code == 0, ran.err
        sent = shared_remote.total > total
        assert sent is any(call for call in document["calls"])
        assert ("No changes" in ran.out) is not bool(changes)
        assert folder.run("plan", "--exit-code").code == 0


@SOME
@given(pair=pairs(), same=st.booleans())
def test_there_is_drift_exactly_where_some_is_shown(
    shared_remote: Remote, pair: tuple[Estate, Estate], same: bool
) -> None:
    """Somebody with a state of their own makes something else of the same organization."""
    shared_remote.reset()
    with project(shared_remote.url) as folder, project(shared_remote.url) as other:
        applied(folder, pair[0])
        if not same:
            applied(other, pair[1])
        ran = folder.run("drift", "--format", "json")
        document = ran.json
        shown = [entry for entry in document["resources"] if entry["status"] in ("drifted", "missing", "still-there")]
        foreign = [entry for entry in document["foreign"] if entry["drift"]]
        assert ran.code == (3 if document["drifted"] else 0), ran.err
        assert bool(shown or foreign) is document["drifted"]
        assert all(entry["fields"] for entry in shown if entry["status"] == "drifted")
        text = folder.run("drift")
        assert text.code == ran.code
        assert ("No drift" in text.out) is not document["drifted"]
        for entry in shown:
            assert f"{entry['address']}: " in text.out
        assert folder.run("drift", "--no-exit-code").code == 0
        if same:
            assert not document["drifted"]


@SOME
@given(pair=pairs())
def test_no_form_and_no_detail_leaves_out_a_count_or_a_hazard(
    shared_remote: Remote, pair: tuple[Estate, Estate]
) -> None:
    """P18, as far as it goes: how little is told of each change, who sees more by it is always told."""
    shared_remote.reset()
    strict = PROJECT.replace("deletes: 100%, widenedAccess: allow", "deletes: 1%, widenedAccess: confirm")
    with project(shared_remote.url, strict) as folder:
        write(folder, pair[0])
        assert folder.run("apply", "--auto-approve", *ALLOW).code == 0 or not pair[0].sections
        write(folder, pair[1])
        if not pair[1].sections:
            return
        document = folder.run("plan", "--format", "json").json
        summary = document["summary"]
        tally = tuple(f"{summary[action]:,}" for action in ("create", "update", "delete"))
        for form in ("text", "markdown", "html"):
            for detail in ("none", "names", "fields", "full"):
                ran = folder.run("plan", "--format", form, "--detail", detail)
                assert ran.code == 0, ran.err
                told = TALLY.search(ran.out)
                assert told is None if not document["changes"] else told is not None and told.groups() == tally
                for hazard in document["hazards"]:
                    assert hazard["name"] in ran.out, (form, detail, hazard)
