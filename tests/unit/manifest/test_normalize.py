"""Names, providers and permission models on their own: what one entry cannot show."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reconciler.manifest.messages import MAX_IDENTITIES
from reconciler.manifest.normalize import NUL, Scope, alias_of
from reconciler.manifest.project import Environment, Project, Provider, Source
from reconciler.manifest.schema import ItemSpec, PermissionSpec
from reconciler.problems import Problem

CORP, OTHER = Provider("corp", "p1", ("Email",)), Provider("other", "p2")


def scope(
    *,
    sources: tuple[Source, ...] = (Source("s", "1", "shared"),),
    providers: tuple[Provider, ...] = (CORP,),
    **defaults: Any,
) -> Scope:
    project = Project(Environment("local", "emulator", "o", "x"), (), sources, providers)
    return Scope(project, lambda path: Problem("file-missing", path), **defaults)


def codes(made: Scope) -> list[tuple[tuple[str | int, ...], str]]:
    return [(found.path, found.problem.code) for found in (*made.findings, *made.warnings)]


@pytest.mark.parametrize("word", ["user", "User", "USER"])
def test_spellings_of_a_type(word: str) -> None:
    assert scope().identity(f"{word}:a:b/c", ()) == "user/corp/a:b/c"


@pytest.mark.parametrize("word", ["virtualGroup", "virtual_group", "VIRTUAL-GROUP", "VirtualGroup"])
def test_spellings_of_virtual_groups(word: str) -> None:
    made = scope()
    assert made.identities([f"{word}:V"], (), "members") == ["virtual-group/corp/V"]
    assert made.groups() == {"virtual-group/corp/V"}


@pytest.mark.parametrize(
    "text", ["alice", "usr:a", "us_er:a", "user:", ":a", "", "user: a", "user:a ", "user:a?info={}"]
)
def test_what_names_no_identity(text: str) -> None:
    made = scope()
    # Twice: what was learned from a good name must not let a bad one through.
    assert made.identity("user:good", ()) == "user/corp/good"
    assert [made.identity(text, ("x",)), made.identity(text, ("x",))] == [None, None]
    assert {path for path, _ in codes(made)} == {("x",)}


def test_which_provider() -> None:
    two = (CORP, OTHER)
    assert scope(providers=two).provider_of("corp", ()) == "corp"
    assert scope(providers=two).provider_of("p2", ()) == "other"
    assert scope(providers=two).provider_of("Email", ()) == "Email"
    assert scope(providers=two, provider="other").provider_of(None, ()) == "other"
    assert scope(providers=two, provider="other").provider_of(None, (), "corp") == "corp"
    assert scope().provider_of(None, ()) == "corp"
    for made, name, code in (
        (scope(providers=two), None, "provider-needed"),
        (scope(providers=()), None, "provider-needed"),
        (scope(providers=two), "nope", "unknown-provider"),
    ):
        assert made.provider_of(name, ("x",)) is None
        assert codes(made) == [(("x",), code)]


def test_a_name_wins_over_an_id_of_the_same_text() -> None:
    providers = (Provider("a", "b"), Provider("b", "c", ("a",)))
    assert [scope(providers=providers).provider_of(name, ()) for name in ("a", "b", "c")] == ["a", "b", "b"]


def test_permissions_of_an_item_take_the_files_default_then_the_sources_provider() -> None:
    spec = ItemSpec.model_validate({"uri": "x:1", "permissions": {"allowed": ["user:a"]}})
    sources = (Source("s", "1", "secured", "other"),)
    for default, provider in ((None, "other"), ("corp", "corp")):
        normal = scope(sources=sources, providers=(CORP, OTHER), provider=default).item(spec)
        assert normal is not None
        assert orjson.loads(normal.shared) == {"levels": [{"sets": [{"allowed": [f"user/{provider}/a"]}]}]}


def test_a_secured_source_wants_permissions() -> None:
    made = scope(sources=(Source("s", "1", "secured"),))
    assert made.item(ItemSpec(uri="x:1")) is not None
    assert codes(made) == [((), "permissions-missing")]
    made = scope(sources=(Source("s", "1", "secured"),), permissions="m")
    normal = made.item(ItemSpec(uri="x:1"))
    assert normal is not None and normal.named == "m" and made.named == {"m"} and codes(made) == []


@pytest.mark.parametrize("form", ["simple", "sets", "levels"])
def test_more_identities_than_an_item_may_have(form: str) -> None:
    allowed = [f"user:{n}" for n in range(MAX_IDENTITIES)]
    for denied, found in (([], []), (["user:x"], [((), "too-many-identities")])):
        entry = {"allowed": allowed, "denied": denied}
        value = entry if form == "simple" else {"sets": [entry]} if form == "sets" else {"levels": [[entry]]}
        made = scope()
        made.permission_doc(PermissionSpec.model_validate(value), (), None)
        assert codes(made) == found


def test_the_permanent_id_is_left_to_calls() -> None:
    normal = scope().item(ItemSpec(uri="x:1"))
    assert normal is not None and normal.doc == b'{"metadata":{}}'


def test_an_alias_by_its_canonical_identity() -> None:
    normal = alias_of('virtual-group/corp/a/b?info={"k":"v"}', ["user/Email/a"], protect=True)
    assert (normal.address, normal.doc) == (
        'alias/corp/virtual-group:a/b?info={"k":"v"}',
        b'{"mappings":["user/Email/a"],"protect":true}',
    )


@pytest.mark.parametrize(
    ("text", "has_nul"), [("a\0", True), ("\\u0000", False), ("\\\\u0000", False), ("\\\0", True), ("\\u0000\0", True)]
)
def test_a_nul_and_what_looks_like_one(text: str, has_nul: bool) -> None:
    assert bool(NUL.search(orjson.dumps(text))) is has_nul
