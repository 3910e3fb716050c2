"""Who sees what, held against the emulator's own evaluation over HTTP: the two share no code.

Where they are known to read the documents differently, the worlds drawn here keep clear of it: aliases from a
user to a group (push-api.md 3.5), and email addresses without a domain (push-api.md 3.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.emulator.options import Doubts, ProviderOptions, SourceOptions
from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json
from reconciler.model.identity import alias_address, parse_identity
from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.model.states import Resource
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from tests.builders import KEY, ORGANIZATION, Remote, start_remote

EMAIL = EMAIL_PROVIDER
VISIBILITY: dict[str, Any] = {"handbook": "secured", "blog": "shared", "own": "private"}
USERS = {"corp": ["user/corp/a", "user/corp/b", "user/corp/c"], "exact": ["user/exact/A", "user/exact/a"]}
GROUPS = {
    "corp": ["group/corp/G", "group/corp/H", "group/corp/K", "virtual-group/corp/V"],
    "exact": ["group/exact/G", "group/exact/g"],
}
MAIL = [f"user/{EMAIL}/{name}" for name in ("a@x.org", "b@X.org", "c@y.org")]
PATTERNS = [f"group/{EMAIL}/*@*", f"group/{EMAIL}/*@x.org"]
PEOPLE = [*USERS["corp"], *USERS["exact"], *MAIL, "user/corp/new", f"user/{EMAIL}/new@x.org"]
ENTRIES = [*PEOPLE, *GROUPS["corp"], *GROUPS["exact"], *PATTERNS, "user/corp/A", "unknown/corp/a"]


def some(whos: list[str], size: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(whos), max_size=size, unique=True).map(lambda names: tuple(sorted(names)))


SETS = st.builds(PermissionSet, some(ENTRIES, 3), some(ENTRIES, 2), st.booleans())
MODELS = st.lists(
    st.lists(SETS, min_size=1, max_size=2).map(lambda sets: PermissionLevel(tuple(sorted(sets)))),
    min_size=1,
    max_size=3,
).map(lambda levels: PermissionModel(tuple(levels)))


@st.composite
def worlds(draw: st.DrawFn) -> list[Resource]:
    """Draw groups and users of two providers, aliases into the email provider, and items of three sources."""
    found = []
    for provider in ("corp", "exact"):
        for who in [*GROUPS[provider], *USERS[provider]]:
            shared = draw(some(GROUPS[provider], 1))
            known = canonical_json({"wellKnowns": shared}) if shared else b""
            kind = who.partition("/")[0]
            mapped = draw(some(MAIL, 2))
            if draw(st.booleans()):
                own = {} if kind == "user" else {"members": draw(some([*GROUPS[provider], *USERS[provider]], 3))}
                found.append(Resource(Address(who), canonical_json(own), known))
            if mapped and draw(st.booleans()):
                found.append(Resource(Address(alias_address(who)), canonical_json({"mappings": mapped}), known))
    for source in VISIBILITY:
        for name in "12":
            model = draw(st.none() | MODELS)
            shared_doc = canonical_json(model.to_doc()) if model else b""
            found.append(Resource(Address(f"item/{source}/x:{name}"), canonical_json({"metadata": {}}), shared_doc))
    return found


def identity(text: str, *, provider: bool = False) -> dict[str, Any]:
    who = parse_identity(text)
    said: dict[str, Any] = {"name": who.name, "type": who.type.upper().replace("-", "_")}
    return {**said, "provider": who.provider} if provider else said


def permission(text: str) -> dict[str, Any]:
    who = parse_identity(text)
    return {"identity": who.name, "identityType": who.type.replace("-", "_"), "securityProvider": who.provider}


def push(client: httpx.Client, world: list[Resource]) -> None:
    """Send every resource in a call of its own, written from the documents."""
    for resource in world:
        kind, scope, name = resource.address.split("/", 2)
        own, shared = resource.own(), resource.shared_doc() or {}
        known = {"wellKnowns": [identity(who) for who in shared.get("wellKnowns", ())]}
        query: dict[str, str] = {}
        if kind == "item":
            path = f"sources/{scope}/documents"
            query["documentId"] = name
            body: dict[str, Any] = {"permissions": [level(entry) for entry in shared["levels"]]} if shared else {}
        elif kind == "alias":
            path = f"providers/{scope}/mappings"
            who, _, name = name.partition(":")
            mappings = [identity(mapped, provider=True) for mapped in own["mappings"]]
            body = {"identity": identity(f"{who}/{scope}/{name}"), "mappings": mappings, **known}
        else:
            path = f"providers/{scope}/permissions"
            body = {"identity": identity(resource.address), "members": list(map(identity, own.get("members", ())))}
            body |= known
        answer = client.put(f"/push/v1/organizations/{ORGANIZATION}/{path}", params=query, json=body)
        assert answer.status_code == 202, answer.text


def level(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "level",
        "permissionSets": [
            {
                "allowAnonymous": one.get("anonymous", False),
                "allowedPermissions": list(map(permission, one.get("allowed", ()))),
                "deniedPermissions": list(map(permission, one.get("denied", ()))),
            }
            for one in entry["sets"]
        ],
    }


@contextmanager
def remote_with(doubts: Doubts) -> Iterator[tuple[Remote, httpx.Client]]:
    with start_remote(
        sources=tuple(SourceOptions(name, seen.upper(), "corp") for name, seen in VISIBILITY.items()),
        providers=(ProviderOptions("corp"), ProviderOptions("exact", case_sensitive=True)),
        doubts=doubts,
    ) as remote:
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=remote.url, trust_env=False, headers=headers) as client:
            yield remote, client


@pytest.mark.parametrize(("partial", "hides"), [("inconclusive", True), ("denied", False)])
def test_the_emulator_sees_it_the_same_way(partial: Any, hides: bool) -> None:
    readings = Readings(
        partial_level=partial,
        unresolved_deny_hides_item=hides,
        unresolved_allow="named",
        members_resolve=False,
        case_sensitive=frozenset({"exact"}),
    )
    with remote_with(Doubts(partial_level=partial, unresolved_deny_hides_item=hides)) as (remote, client):

        @settings(max_examples=50)
        @given(worlds())
        def agrees(world: list[Resource]) -> None:
            remote.reset()
            push(client, world)
            relation = Relation(readings, VISIBILITY)
            relation.load(world)
            for who in PEOPLE:
                assert set(relation.seen_by(who)) == visible(client, who), who
            assert set(relation.seen_by(None)) == visible(client, None)
            mapped = {readings.key(who) for resource in world for who in resource.own().get("mappings", ())}
            # The emulator lists viewers among users whom an identity names: not whoever else a pattern covers.
            listed = {key for key in map(readings.key, PEOPLE) if key in mapped or not key.startswith(f"user/{EMAIL}")}
            for resource in world:
                if resource.address.kind == "item" and resource.shared and resource.address.scope != "blog":
                    seeing = {readings.key(who) for who in PEOPLE if relation.sees(who, resource.address)}
                    assert viewers(client, resource.address, listed) == seeing & listed

        agrees()


def visible(client: httpx.Client, who: str | None) -> set[str]:
    query = {}
    if who is not None:
        asked = parse_identity(who)
        query = {"provider": asked.provider, "type": asked.type.upper(), "name": asked.name}
    answer = client.get("/_emulator/visible", params=query).raise_for_status().json()
    return {f"item/{item['source']}/{item['uri']}" for item in answer["items"]}


def viewers(client: httpx.Client, address: Address, asked: set[str]) -> set[str]:
    """Return whom of these the emulator lists as viewers; whom it does not list it treats as anonymous."""
    query = {"source": address.scope, "uri": address.name}
    answer = client.get("/_emulator/viewers", params=query).raise_for_status().json()
    decided = {
        f"user/{user['securityProvider']}/{user['identity']}": user["decision"] == "ALLOWED" for user in answer["users"]
    }
    return {key for key in asked if decided.get(key, answer["anonymous"])}
