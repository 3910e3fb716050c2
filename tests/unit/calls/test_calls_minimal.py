"""No call can be left out (P10): without any single one of them the remote ends up with something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from call_changes import create, delete, group, item, stays, update
from hypothesis import given
from hypothesis import strategies as st
from modelled_remote import Held, ModelledRemote

from reconciler.calls.call import Compiled
from reconciler.calls.compile import Batching, compile_calls, payload_resources
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.model.address import Address
from reconciler.model.canonical import permanent_id
from reconciler.model.states import Resource
from reconciler.planning.change import Change

SOURCES = {"s": "sid", "t": "tid", "c": "cid"}
CATALOG = "c"
TINY = Limits(single_body=0, container=700)
URIS = st.sampled_from([f"f:/{name}" for name in ("a", "a/b", "a/c", "a/c/d", "b", "e")])
Titles = Mapping[tuple[str, str], str]
Members = Mapping[str, tuple[str, ...]]

TITLES = st.dictionaries(st.tuples(st.sampled_from(sorted(SOURCES)), URIS), st.sampled_from("xy"), max_size=10)
MEMBERS = st.dictionaries(st.sampled_from("ABCD"), st.sampled_from([(), ("user/corp/u",), ("user/corp/v",)]))


def resources(titles: Titles, members: Members) -> dict[Address, Resource]:
    found = [item(uri, source, title=title) for (source, uri), title in titles.items()]
    found += [group(name, *who) for name, who in members.items()]
    return {resource.address: resource for resource in found}


def changes_between(before: Mapping[Address, Resource], after: Mapping[Address, Resource]) -> Iterator[Change]:
    for address in sorted(before.keys() | after.keys()):
        was, will = before.get(address), after.get(address)
        if will is None:
            assert was is not None
            yield delete(was)
        elif was is None:
            yield create(will)
        elif was != will:
            yield update(was, will)


def remote_of(titles: Titles, members: Members) -> ModelledRemote:
    remote = ModelledRemote({"sid": {}, "tid": {}, "cid": {}}, {"pid": {}})
    for (source, uri), title in titles.items():
        remote.items[SOURCES[source]][uri] = Held({"title": title, "permanentid": permanent_id(uri)})
    for name, who in members.items():
        remote.identities["pid"][name] = Held({"members": [{"name": one.rpartition("/")[2]} for one in who]})
    return remote


def shown(remote: ModelledRemote) -> dict[str, Any]:
    """Return what it holds, without the ordering ids and what goes without saying."""
    return {
        "items": {
            place: {uri: {k: v for k, v in one.doc.items() if v is not None} for uri, one in held.items()}
            for place, held in remote.items.items()
        },
        "identities": {
            place: {name: [who["name"] for who in one.doc["members"]] for name, one in held.items()}
            for place, held in remote.identities.items()
        },
    }


def without(compiled: Compiled, number: int) -> Compiled:
    stages = tuple(
        replace(stage, calls=tuple(call for call in stage.calls if call.number != number)) for stage in compiled.stages
    )
    return replace(compiled, stages=stages)


@given(
    recorded=TITLES,
    desired=TITLES,
    known=MEMBERS,
    wanted=MEMBERS,
    exclusive=st.booleans(),
    limits=st.sampled_from([PUBLISHED, TINY]),
    batching=st.sampled_from(["auto", "never"]),
)
def test_no_call_can_be_left_out(
    recorded: Titles,
    desired: Titles,
    known: Members,
    wanted: Members,
    exclusive: bool,
    limits: Limits,
    batching: Batching,
) -> None:
    before, after = resources(recorded, known), resources(desired, wanted)
    context = WireContext(
        "org",
        {name: SourceRef(place, exclusive=exclusive, catalog=name == CATALOG) for name, place in SOURCES.items()},
        {"corp": "pid"},
        frozenset({"corp"}) if exclusive else frozenset(),
    )
    changes = list(changes_between(before, after))
    standing = stays(*(resource for address, resource in after.items() if before.get(address) == resource))
    compiled = compile_calls(changes, context, limits, standing=standing, batching=batching)
    start = remote_of(recorded, known)

    def run(calls: Compiled) -> dict[str, Any]:
        remote = deepcopy(start)
        remote.run(calls, payload_resources(changes), context)
        return shown(remote)

    whole = run(compiled)
    assert whole == shown(remote_of(desired, wanted)), "all of them come to what is desired"
    for call in compiled.calls:
        assert run(without(compiled, call.number)) != whole, call
