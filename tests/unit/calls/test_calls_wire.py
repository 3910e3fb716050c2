"""Resources as Push API JSON: the documents' worked example, and each shape of permissions."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.calls.call import Covered, Verb
from reconciler.calls.compile import compile_calls
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.wire import Section, Wire, body_bound, packed_bound, section_of
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource, Target
from reconciler.planning.change import Action, Change
from reconciler.problems import ManifestError
from reconciler.pushapi.containers import MAX_FILE_ID

CONTEXT = WireContext(
    "mycoveocloudv2organizationg8tp8wu3",
    {"handbook": SourceRef("mysourceidg3c5d1r2", "corp"), "open": SourceRef("opensource")},
    {"corp": "mysecurityidentityprovider8d9s8d", "other": "otherprovider"},
)
WIRE = Wire(CONTEXT)
# The MD5 and the SHA-1 of file://folder/mytext.txt, 30 hex digits of each.
PERMANENT_ID = "30315feb715d8bbed48324532306d5f2f4ef0af8204653b7b6d407416f56"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def resource(kind: Kind, scope: str, name: str, own: dict[str, Any], shared: Any = None) -> Resource:
    return Resource(
        Address.of(kind, scope, name),
        canonical_json(own),
        canonical_json(shared) if shared is not None else b"",
    )


def item(own: dict[str, Any], shared: Any = None, *, source: str = "handbook") -> Resource:
    return resource(Kind.ITEM, source, "file://folder/mytext.txt", {"metadata": {}} | own, shared)


def single(value: Resource, verb: Verb = Verb.PUT) -> Any:
    return orjson.loads(WIRE.single_entry(value.address, verb, value).head)


def batch_size(value: Resource) -> int:
    return WIRE.batch_entry(Covered(value.address, Verb.PUT), value).size


def permissions(*levels: Any, source: str = "handbook") -> Any:
    return single(item({}, {"levels": list(levels)}, source=source))["permissions"]


def folded(value: Any) -> Any:
    """The value with its keys in lower case, as the wire compares them (push-api.md 3)."""
    if isinstance(value, dict):
        return {key.lower(): folded(entry) for key, entry in value.items()}
    return [folded(entry) for entry in value] if isinstance(value, list) else value


# The bodies and paths of the Push API usage example (docs.coveo.com/en/1336), except for `data`,
# which the payload adds.
DOCUMENTED_ITEM = {
    "author": "Alice Smith",
    "date": "2017-11-08T12:18:41.666Z",
    "documenttype": "Text",
    "filename": "mytext.txt",
    "language": ["English"],
    "permanentid": "sample95829alice84720permanent93829id",
    "sourcetype": "Push",
    "title": "My Text",
    "fileExtension": ".txt",
    "permissions": [
        {
            "allowAnonymous": False,
            "allowedPermissions": [{"identity": "AlphaTeam", "identityType": "Group"}],
            "deniedPermissions": [{"identity": "bob@example.com", "identityType": "User"}],
        }
    ],
}
DOCUMENTED_GROUP = {
    "identity": {"name": "AlphaTeam", "type": "GROUP"},
    "members": [
        {"name": "alice@example.com", "type": "USER"},
        {"name": "bob@example.com", "type": "USER"},
        {"name": "david@example.com", "type": "USER"},
    ],
}
DOCUMENTED_ALIAS = {
    "Identity": {"Name": "alice@example.com", "Type": "USER"},
    "Mappings": [{"Name": "alice@example.com", "Type": "USER", "Provider": "Email Security Provider"}],
}
MY_TEXT = item(
    {
        "title": "My Text",
        "fileExtension": ".txt",
        "metadata": {
            key: DOCUMENTED_ITEM[key]
            for key in ("author", "date", "documenttype", "filename", "language", "permanentid", "sourcetype")
        },
    },
    {"levels": [{"sets": [{"allowed": ["group/corp/AlphaTeam"], "denied": ["user/corp/bob@example.com"]}]}]},
)
ALPHA_TEAM = resource(
    Kind.GROUP,
    "corp",
    "AlphaTeam",
    {"members": [f"user/corp/{name}@example.com" for name in ("alice", "bob", "david")]},
)
ALICE = resource(
    Kind.ALIAS,
    "corp",
    "user:alice@example.com",
    {"mappings": ["user/Email Security Provider/alice@example.com"]},
)


def test_the_documented_requests() -> None:
    changes = [Change(each.address, Action.CREATE, "new", None, each) for each in (MY_TEXT, ALPHA_TEAM, ALICE)]
    calls = compile_calls(changes, CONTEXT).calls
    organization = "organizations/mycoveocloudv2organizationg8tp8wu3"
    assert [(call.method, call.path, call.query) for call in calls] == [
        ("PUT", f"{organization}/providers/mysecurityidentityprovider8d9s8d/permissions", ()),
        ("PUT", f"{organization}/providers/mysecurityidentityprovider8d9s8d/mappings", ()),
        (
            "PUT",
            f"{organization}/sources/mysourceidg3c5d1r2/documents",
            (("documentId", "file://folder/mytext.txt"),),
        ),
    ]
    assert [folded(single(each)) for each in (ALPHA_TEAM, ALICE, MY_TEXT)] == [
        folded(DOCUMENTED_GROUP),
        folded(DOCUMENTED_ALIAS),
        folded(DOCUMENTED_ITEM),
    ]


def test_an_item_in_a_batch_names_itself_and_how_its_body_is_compressed() -> None:
    value = item(
        {
            "clickableUri": "https://example.com/a",
            "parent": "file://folder",
            "body": {"encoding": "binary", "sha256": EMPTY, "size": 0},
        }
    )
    entry = WIRE.batch_entry(Covered(value.address, Verb.PUT), value)
    assert orjson.loads(entry.head) == {
        "permanentid": PERMANENT_ID,
        "documentId": "file://folder/mytext.txt",
        "clickableUri": "https://example.com/a",
        "parentId": "file://folder",
        "compressionType": "ZLIB",
    }
    assert "compressionType" not in single(value)
    assert orjson.loads(WIRE.batch_entry(Covered(value.address, Verb.DELETE), None).head) == {
        "documentId": "file://folder/mytext.txt",
        "deleteChildren": False,
    }


def test_an_item_has_the_permanent_id_that_follows_from_its_uri_unless_it_brings_one() -> None:
    assert single(item({})) == {"permanentid": "30315feb715d8bbed48324532306d5f2f4ef0af8204653b7b6d407416f56"}
    accented = resource(Kind.ITEM, "handbook", "https://x/\u00e9", {"metadata": {}})
    assert single(accented) == {"permanentid": "ce8e61798d754ea1c5441c98ffcb0868246da0363f5f2723cfbd50f9bc7f"}
    own = item({"metadata": {"permanentid": "mine"}})
    assert single(own) == {"permanentid": "mine"}
    assert orjson.loads(WIRE.batch_entry(Covered(own.address, Verb.PUT), own).head) == {
        "permanentid": "mine",
        "documentId": "file://folder/mytext.txt",
    }


def test_protect_is_ours_and_never_travels() -> None:
    assert single(item({"protect": True})) == {"permanentid": PERMANENT_ID}
    user = resource(Kind.USER, "corp", "a", {"protect": True})
    assert single(user) == {"identity": {"name": "a", "type": "USER"}}


def test_one_unnamed_level_takes_the_simplified_form() -> None:
    assert permissions({"sets": [{"anonymous": True}, {"name": "b", "denied": ["unknown/corp/x"]}]}) == [
        {"allowAnonymous": True, "allowedPermissions": [], "deniedPermissions": []},
        {
            "name": "b",
            "allowAnonymous": False,
            "allowedPermissions": [],
            "deniedPermissions": [{"identity": "x", "identityType": "Unknown"}],
        },
    ]


def test_levels_and_names_take_the_complete_form() -> None:
    bare = {"allowAnonymous": False, "allowedPermissions": [], "deniedPermissions": []}
    assert permissions({"name": "top", "sets": [{}]}) == [{"name": "top", "permissionSets": [bare]}]
    assert permissions({"sets": [{}]}, {"sets": [{"name": "n"}]}) == [
        {"permissionSets": [bare]},
        {"permissionSets": [{"name": "n"} | bare]},
    ]
    assert permissions() == []


def test_a_security_provider_is_named_only_when_it_is_not_the_sources_own() -> None:
    level = {
        "sets": [
            {
                "allowed": [
                    "group/corp/a",
                    "user/Email Security Provider/b@example.com",
                    "virtual-group/other/c",
                    'user/corp/d?info={"domain":"x"}',
                ]
            }
        ]
    }
    shown = [
        (entry["identity"], entry["identityType"], entry.get("securityProvider"), entry.get("additionalInfo"))
        for entry in permissions(level)[0]["allowedPermissions"]
    ]
    assert shown == [
        ("a", "Group", None, None),
        ("b@example.com", "User", "Email Security Provider", None),
        ("c", "VirtualGroup", "otherprovider", None),
        ("d", "User", None, {"domain": "x"}),
    ]
    # A source without a provider of its own has no default that could be meant.
    [one] = permissions(level, source="open")
    assert one["allowedPermissions"][0]["securityProvider"] == "mysecurityidentityprovider8d9s8d"


def test_well_knowns_stand_on_identities_and_aliases_alike() -> None:
    shared = {"wellKnowns": ["virtual-group/corp/Everyone"]}
    expected = [{"name": "Everyone", "type": "VIRTUAL_GROUP"}]
    user = resource(Kind.USER, "corp", "alice", {}, shared)
    alias = resource(Kind.ALIAS, "corp", "user:alice", {"mappings": ["user/other/al"]}, shared)
    group = resource(Kind.VIRTUAL_GROUP, "corp", "g", {"members": []}, shared)
    assert single(user) == {"identity": {"name": "alice", "type": "USER"}, "wellKnowns": expected}
    assert single(alias) == {
        "identity": {"name": "alice", "type": "USER"},
        "mappings": [{"name": "al", "type": "USER", "provider": "otherprovider"}],
        "wellKnowns": expected,
    }
    assert single(group) == {
        "identity": {"name": "g", "type": "VIRTUAL_GROUP"},
        "members": [],
        "wellKnowns": expected,
    }


def test_deleting_identities_and_aliases() -> None:
    shared = {"wellKnowns": ["group/corp/Everyone"]}
    alias = resource(Kind.ALIAS, "corp", "user:alice", {"mappings": ["user/other/al"]}, shared)
    assert single(alias, Verb.DELETE) == {
        "identity": {"name": "alice", "type": "USER"},
        "mappings": [],
        "wellKnowns": [{"name": "Everyone", "type": "GROUP"}],
    }
    group = Address.of(Kind.GROUP, "corp", 'g?info={"k":"v"}')
    assert orjson.loads(WIRE.single_entry(group, Verb.DELETE, None).head) == {
        "identity": {"name": "g", "type": "GROUP", "additionalInfo": {"k": "v"}}
    }
    user = Address.of(Kind.USER, "corp", "u")
    deleted = WIRE.single_entry(user, Verb.DELETE, None)
    assert orjson.loads(deleted.head) == {"identity": {"name": "u", "type": "USER"}}
    assert WIRE.batch_entry(Covered(user, Verb.DELETE), None) == deleted


def test_a_tree_says_that_it_takes_what_is_below_along() -> None:
    gone = Covered(Address("item/handbook/https://x/a"), Verb.DELETE_TREE)
    assert orjson.loads(WIRE.batch_entry(gone, None).head) == {"documentId": "https://x/a", "deleteChildren": True}
    assert section_of(gone.address, gone.verb) is Section.DELETE


def test_what_goes_with_others_stands_in_no_list() -> None:
    for address in ("item/handbook/https://x/a/b", "group/corp/g", "alias/corp/user:u"):
        assert section_of(Address(address), Verb.SWEPT) is None


@pytest.mark.parametrize("encoding", ["text", "binary"])
def test_a_body_apart_leaves_room_for_the_name_of_its_container(encoding: str) -> None:
    value = item({"body": {"encoding": encoding, "sha256": EMPTY, "size": 50_000_000}})
    entry = WIRE.batch_entry(Covered(value.address, Verb.PUT), value)
    assert (entry.apart, entry.container_size) == (True, packed_bound(50_000_000, "ZLIB"))
    assert entry.size >= len(entry.head) + len(',"compressedBinaryDataFileId":""') + MAX_FILE_ID
    assert orjson.loads(entry.head)["compressionType"] == "ZLIB"


def test_withdrawing_a_user() -> None:
    user = resource(Kind.USER, "corp", 'u?info={"k":"v"}', {})
    expected = {"identity": {"name": "u", "type": "USER", "additionalInfo": {"k": "v"}}}
    assert single(user, Verb.WITHDRAW) == expected
    assert orjson.loads(WIRE.batch_entry(Covered(user.address, Verb.WITHDRAW), user).head) == expected
    for verb, section in ((Verb.WITHDRAW, Section.MEMBERS), (Verb.DELETE, Section.DELETED)):
        assert section_of(user.address, verb) is section
    with pytest.raises(ValueError, match="bug in reconciler"):
        WIRE.single_entry(user.address, Verb.WITHDRAW, None)


@pytest.mark.parametrize("key", ["permissions", "data", "documentid", "parentid", "orderingid", "title"])
def test_metadata_never_takes_the_place_of_the_items_own_keys(key: str) -> None:
    value = item({"title": "t", "metadata": {key: "x"}})
    with pytest.raises(ManifestError) as caught:
        WIRE.single_entry(value.address, Verb.PUT, value)
    assert [problem.code for problem in caught.value.problems] == ["reserved-metadata-key"]


def test_paths_are_encoded() -> None:
    wire = Wire(WireContext("o/rg", {"s": SourceRef("my source")}, {"p": "My Provider/1"}))
    assert wire.items_path("s") == "organizations/o%2Frg/sources/my%20source/documents"
    assert wire.provider_path("p") == "organizations/o%2Frg/providers/My%20Provider%2F1"


def test_an_undeclared_scope_is_a_problem() -> None:
    for code, ask in (("unknown-source", WIRE.items_path), ("unknown-provider", WIRE.provider_path)):
        with pytest.raises(ManifestError) as caught:
            ask("nowhere")
        assert [problem.code for problem in caught.value.problems] == [code]


def test_a_context_from_a_target() -> None:
    target = Target("org", (("s", "sid"), ("t", "tid")), (("p", "pid"),))
    assert WireContext.of(target, {"s": "p", "t": None}) == WireContext(
        "org", {"s": SourceRef("sid", "p"), "t": SourceRef("tid", None)}, {"p": "pid"}
    )


def test_many_permission_models_do_not_pile_up() -> None:
    wire = Wire(CONTEXT)
    for number in range(5000):
        value = item({}, {"levels": [{"sets": [{"allowed": [f"user/corp/{number}"]}]}]})
        assert wire.permission_count(value) == 1
    assert len(wire._models) <= 4096


def test_sizes_are_exact_without_a_body_and_bounded_with_one() -> None:
    plain = item({"title": "é"})
    assert batch_size(plain) == len(
        b'{"permanentid":"%b","documentId":"file://folder/mytext.txt","title":"\xc3\xa9"}' % PERMANENT_ID.encode()
    )
    body = {"encoding": "text", "sha256": EMPTY, "size": 1000}
    assert batch_size(item({"title": "é", "body": body})) == batch_size(plain) + 1484


@given(st.integers(0, 10**9), st.sampled_from(["ZLIB", "GZIP", "DEFLATE", "LZMA", "UNCOMPRESSED"]))
def test_bounds_grow_with_the_size(size: int, compression: str) -> None:
    packed = packed_bound(size, compression)
    assert size <= packed < packed_bound(size + 1, compression)
    assert packed * 4 / 3 < body_bound(size, compression) <= body_bound(size + 1, compression)
    most = {"LZMA": size * 1.376 + 5_600, "UNCOMPRESSED": size * 4 / 3 + 132}
    assert body_bound(size, compression) <= most.get(compression, size * 1.34 + 200)
