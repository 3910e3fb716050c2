"""Replies of the read side as the resources that would say the same."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.verifying.observed import (
    Entry,
    Observed,
    observed_entry,
    observed_item,
    observed_model,
    provider_name,
)

NAME = provider_name({"p1": "corp"})


def member(name: Any, kind: Any = "User", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "provider": "p1", "infos": [], "state": "UP_TO_DATE", **more}


def permission(name: str, allowed: bool, **more: Any) -> dict[str, Any]:
    shown = {"identity": name, "identityType": "Group", "securityProvider": "p1", "additionalInfo": {}}
    return {"allowed": allowed, **shown, "state": "UP_TO_DATE", **more}


def test_an_entry_has_the_project_s_name_of_its_provider_and_keeps_its_case() -> None:
    assert observed_entry(member("Ann"), "p1", NAME) == Entry("user/corp/Ann", "UP_TO_DATE")
    info = [{"key": "b", "value": "Y"}, {"key": "a", "value": "X"}]
    found = observed_entry(member("G", "VirtualGroup", provider="far/off", infos=info, state=None), "p1", NAME)
    assert found == Entry('virtual-group/far%2Foff/G?info={"a":"X","b":"Y"}', "")
    assert observed_entry(member("Ann", provider=None), "p1", NAME) == Entry("user/corp/Ann", "UP_TO_DATE")


@pytest.mark.parametrize("document", [{}, member(None), member(""), member("a", "Martian"), member("a", 7)])
def test_what_is_no_identity_is_not_seen(document: dict[str, Any]) -> None:
    assert observed_entry(document, "p1", NAME) is None


def test_a_model_keeps_levels_sets_and_what_is_said_of_each_identity() -> None:
    sets = [
        {"name": "s", "anonymousAllowed": True, "permissions": [permission("B", True), permission("A", True)]},
        {"permissions": [permission("C", False, state="NOT_UPDATED", securityProvider=None), "no permission"]},
    ]
    found = observed_model({"state": "VALID", "permissionLevels": [{"name": "l", "permissionSets": sets}]}, "p1", NAME)
    allowed = PermissionSet(("group/corp/A", "group/corp/B"), (), True, "s")
    denied = PermissionSet((), ("group/corp/C",))
    assert found.model == PermissionModel((PermissionLevel((allowed, denied), "l"),))
    assert found.entries[-1] == Entry("group/corp/C", "NOT_UPDATED")
    assert observed_model({"permissionLevels": "none"}, "p1", NAME).model is None


def seen(*entries: tuple[str, str]) -> Observed:
    found = Observed()
    for identity, state in entries:
        found.see(Entry(identity, state))
    return found


def test_what_was_seen_of_identities_comes_out_as_resources() -> None:
    found = seen(("group/corp/G", "UP_TO_DATE"), ("user/corp/a", "UP_TO_DATE"), ("unknown/corp/x", "UP_TO_DATE"))
    found.contain("group/corp/G", "user/corp/a")
    found.equate("user/corp/a", "user/mail/a")
    assert {str(entry.address): entry.own() for entry in found.resources()} == {
        "group/corp/G": {"members": ["user/corp/a"]},
        "user/corp/a": {},
        "alias/corp/user:a": {"mappings": ["user/mail/a"]},
        "alias/corp/unknown:x": {"mappings": []},
        "user/mail/a": {},
    }


def test_what_is_disabled_grants_nothing_and_passes_nothing_on() -> None:
    found = seen(("group/corp/G", "UP_TO_DATE"), ("user/corp/a", "DISABLED"), ("group/corp/H", "DISABLED"))
    found.contain("group/corp/G", "user/corp/a")
    found.contain("group/corp/H", "user/corp/b")
    found.equate("user/corp/b", "user/corp/a")
    assert {str(entry.address): entry.own() for entry in found.resources()} == {
        "group/corp/G": {"members": []},
        "user/corp/b": {},
    }


def test_an_identity_is_unresolved_unless_one_spelling_of_it_is_resolved() -> None:
    found = seen(
        ("user/corp/A", "NOT_UPDATED"),
        ("user/corp/a", "OUT_OF_DATE"),
        ("user/corp/b", ""),
        ("user/corp/c", "IN_ERROR"),
        ("user/mail/d", "NOT_UPDATED"),
        ("user/mail/e", "DISABLED"),
    )
    assert found.unresolved(str.casefold, "mail") == {"user/corp/b", "user/corp/c", "user/mail/e"}


def test_an_item_has_its_model_and_nothing_else() -> None:
    model = PermissionModel((PermissionLevel((PermissionSet(anonymous=True),)),))
    found = observed_item("s", "x:1", model)
    assert (str(found.address), found.shared_doc()) == ("item/s/x:1", model.to_doc())
    assert observed_item("s", "x:1", None).shared == b""
