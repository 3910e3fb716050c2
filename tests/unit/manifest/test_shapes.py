"""The fast shapes never let through what the models refuse, and both come to the same resource."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from reconciler.manifest.normalize import Normal, Scope
from reconciler.manifest.project import Environment, Project, Provider, Source
from reconciler.manifest.schema import AliasSpec, GroupSpec, ItemSpec, UserSpec
from reconciler.manifest.shapes import SHAPES, fast_check, fast_check_all
from reconciler.model.address import Kind
from reconciler.problems import Problem

PROJECT = Project(
    environment=Environment("local", "emulator", "local", "x"),
    manifests=(),
    sources=(Source("s", "1", "shared", "corp"), Source("t", "2", "secured")),
    providers=(Provider("corp", "p", ("Email",)), Provider("other", "o")),
)
MODELS: dict[str, type[BaseModel]] = {
    "items": ItemSpec,
    "groups": GroupSpec,
    "virtualGroups": GroupSpec,
    "users": UserSpec,
    "aliases": AliasSpec,
}

TEXT = st.sampled_from(
    ["", "a", "user:a", "Group:B", "group:", "x:1", "corp", "other", "s", ".txt", "txt", "aGk=", " a"]
)
ODD = st.sampled_from([None, True, 1, 1.5, [], {}, ["a"], "x"])


def mapping(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mappings with any of the keys, now and then with one of the wrong type or unknown."""
    optional = {key.rstrip("_"): value | ODD for key, value in keys.items()} | {"oops": ODD}
    likely = {key.rstrip("_"): value for key, value in keys.items()}
    return st.one_of(
        st.fixed_dictionaries({}, optional=likely),
        st.fixed_dictionaries({}, optional=likely),
        st.fixed_dictionaries({}, optional=optional),
    )


INFO = st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["1", ""]), max_size=2)
IDENTITY = (
    st.sampled_from(["user:a", "group:B", "virtualGroup:C", "unknown:d", "GROUP:b"])
    | TEXT
    | mapping(user=TEXT, group=TEXT, virtualGroup=TEXT, unknown=TEXT, provider=TEXT, additionalInfo=INFO)
)
IDENTITIES = st.lists(IDENTITY, max_size=3)
SET = mapping(name=TEXT, anonymous=st.booleans(), allowed=IDENTITIES, denied=IDENTITIES)
SETS = st.lists(SET, max_size=2)
PERMISSIONS = TEXT | mapping(
    anonymous=st.booleans(), allowed=IDENTITIES, denied=IDENTITIES, sets=SETS, levels=st.lists(SETS, max_size=2)
)
ENTRIES: dict[str, st.SearchStrategy[Any]] = {
    "items": st.tuples(
        st.just({"uri": "x:1"}) | st.just({}),
        mapping(
            uri=st.sampled_from(["x:1", "x:2", "none", ""]),
            source=st.sampled_from(["s", "t", "u", ""]),
            title=TEXT,
            clickableUri=TEXT,
            body=mapping(text=TEXT, base64=TEXT),
            fileExtension=TEXT,
            parent=TEXT,
            permissions=PERMISSIONS,
            permanentId=TEXT,
            metadata=st.dictionaries(
                st.sampled_from(["a", "A", "data", "title", "x-y"]), ODD | st.lists(ODD), max_size=2
            ),
            protect=st.booleans(),
        ),
    ).map(lambda pair: pair[0] | pair[1] if isinstance(pair[1], dict) else pair[1]),
    "groups": mapping(
        name=TEXT, members=IDENTITIES, provider=TEXT, wellKnowns=IDENTITIES, additionalInfo=INFO, protect=st.booleans()
    ),
    "users": mapping(name=TEXT, provider=TEXT, wellKnowns=IDENTITIES, additionalInfo=INFO, protect=st.booleans()),
    "aliases": mapping(
        of=IDENTITY,
        provider=TEXT,
        is_=st.lists(
            mapping(provider=st.sampled_from(["Email", "corp", "x", ""]), identity=IDENTITY, additionalInfo=INFO),
            max_size=2,
        ),
        protect=st.booleans(),
    ),
}
ENTRIES["virtualGroups"] = ENTRIES["groups"]


def normalised(spec: Any, section: str, provider: str | None) -> tuple[Normal | None, set[str], set[str], list[str]]:
    scope = Scope(PROJECT, lambda path: Problem("file-missing", path), source="s", provider=provider)
    if section == "items":
        normal = scope.item(spec)
    elif section == "aliases":
        normal = scope.alias(spec)
    elif section == "users":
        normal = scope.user(spec)
    else:
        normal = scope.group(spec, Kind.GROUP if section == "groups" else Kind.VIRTUAL_GROUP)
    return normal, scope.groups(), scope.named, [found.problem.what for found in (*scope.findings, *scope.warnings)]


@pytest.mark.parametrize("section", sorted(SHAPES))
@given(data=st.data())
def test_what_comes_by_the_fast_way_would_come_by_the_exact_way(section: str, data: st.DataObject) -> None:
    entry = data.draw(ENTRIES[section])
    provider = data.draw(st.sampled_from([None, "corp"]))
    shape = fast_check(entry, SHAPES[section])
    assert (fast_check_all([entry], section) is None) == (shape is None)
    try:
        model = MODELS[section].model_validate(entry)
    except ValidationError:
        model = None
    if shape is None:
        return
    fast = normalised(shape, section, provider)
    if model is None:
        # Forms that a pattern decides are looked at again when names are looked up.
        assert fast[0] is None and fast[3]
    else:
        assert fast == normalised(model, section, provider)


def test_what_is_common_comes_by_the_fast_way() -> None:
    entries = {
        "items": {"uri": "x:1", "body": {"text": "t"}, "permissions": {"allowed": ["user:a"]}, "metadata": {"a": 1}},
        "groups": {"name": "A", "members": ["user:a", {"group": "B", "provider": "corp"}]},
        "virtualGroups": {"name": "A", "members": []},
        "users": {"name": "a", "wellKnowns": ["group:A"]},
        "aliases": {"of": "user:a", "is": [{"provider": "Email", "identity": "user:a"}]},
    }
    assert {section for section, entry in entries.items() if fast_check(entry, SHAPES[section])} == set(SHAPES)
