"""Cases of safe order, each with what would be seen; that it holds in general is tested in tests/property."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from call_changes import CONTEXT, alias, create, group, item, update, user

from reconciler.calls.call import Compiled, Wave
from reconciler.calls.compile import Batching, compile_calls
from reconciler.calls.safely import in_safe_order
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from reconciler.planning.change import Change

PATTERN = f"group/{EMAIL_PROVIDER}/*@partner.org"


def allowing(*identities: str, uri: str = "https://x/1", denied: Sequence[str] = ()) -> Resource:
    model = {"allowed": sorted(identities)} | ({"denied": sorted(denied)} if denied else {})
    return replace(item(uri), shared=canonical_json({"levels": [{"sets": [model]}]}))


def safely(recorded: Sequence[Resource], changes: Sequence[Change], *, batching: Batching = "auto") -> Compiled:
    relation = Relation(Readings(), {})
    relation.load(recorded)
    known = {str(resource.address): resource for resource in recorded}

    def made(waves: Sequence[Wave]) -> Compiled:
        return compile_calls(changes, CONTEXT, batching=batching, waves=waves)

    return in_safe_order(
        changes, relation, lambda asked: {address: known[address] for address in asked if address in known}, made
    )


def order(compiled: Compiled) -> list[list[str]]:
    return [[covered.address for covered in call.covers] for call in compiled.calls]


def moved(*identities: str) -> Change:
    """The item goes from V to W."""
    return update(allowing("group/corp/V"), allowing("group/corp/W", *identities))


STAYING = [group("V"), group("W", "user/corp/w"), allowing("group/corp/V")]


def test_a_well_known_lets_people_in_like_a_membership() -> None:
    newcomer = create(user("x", b'{"wellKnowns":["group/corp/V"]}'))
    assert order(safely(STAYING, [newcomer, moved()])) == [["item/s/https://x/1"], ["user/corp/x"]]


def test_an_alias_sets_the_well_knowns_of_its_identity_as_well() -> None:
    """There is one list of them, and whichever call comes first changes it (push-api.md 5.3)."""
    wells = b'{"wellKnowns":["group/corp/V"]}'
    before = [user("x"), alias("x"), *STAYING]
    changes = [update(user("x"), user("x", wells)), update(alias("x"), alias("x", wells)), moved()]
    item_first, *others = order(safely(before, changes))
    assert item_first == ["item/s/https://x/1"]
    assert sorted(address for call in others for address in call) == ["alias/corp/user:x", "user/corp/x"]


def test_whom_nobody_declared_may_come_in_by_a_pattern() -> None:
    """Nobody known is of that domain; everybody of it would see the item for a moment."""
    wider = update(group("V"), group("V", PATTERN))
    assert order(safely(STAYING, [wider, moved()])) == [["item/s/https://x/1"], ["group/corp/V"]]


def test_what_nobody_may_see_for_a_moment_is_told_with_the_pattern() -> None:
    """V comes to let partners in and U no longer does: whichever goes first, somebody is in both."""
    both = {"levels": [{"sets": [{"allowed": ["group/corp/V"]}, {"allowed": ["group/other/U"]}]}]}
    stays = replace(item("https://x/2"), shared=canonical_json(both))
    before = [group("V", "user/corp/a"), group("U", PATTERN, scope="other"), stays]
    changes = [
        update(before[0], group("V", PATTERN)),
        update(before[1], group("U", "user/corp/a", scope="other")),
    ]
    [transient] = safely(before, changes).order.transients
    assert (transient.since, transient.until, transient.examples) == (1, 2, ("item/s/https://x/2",))
    assert (transient.people, transient.identities) == (0, (PATTERN,))


def test_single_calls_keep_the_rule_too() -> None:
    wider = update(group("V"), group("V", "user/corp/x"))
    assert order(safely(STAYING, [wider, moved()], batching="never")) == [["item/s/https://x/1"], ["group/corp/V"]]


def test_the_usual_order_stays_where_it_is_safe() -> None:
    """An item that comes is not there while groups change: the fewest calls, identities first."""
    changes = [update(group("V"), group("V", "user/corp/x")), create(allowing("group/corp/V", uri="https://x/3"))]
    compiled = safely([group("V")], changes)
    assert order(compiled) == [["group/corp/V"], ["item/s/https://x/3"]]
    assert compiled.order.checked
    assert compiled.order.extra_calls == 0


def test_what_is_denied_goes_before_what_lets_in() -> None:
    """A denied group gains a member, the allowed one too: the other way round x would see the item."""
    stays = allowing("group/corp/V", denied=["group/corp/W"])
    before = [group("V"), group("W", "user/corp/w"), stays]
    changes = [
        update(before[0], group("V", "user/corp/x")),
        update(before[1], group("W", "user/corp/w", "user/corp/x")),
    ]
    assert order(safely(before, changes)) in ([["group/corp/W"], ["group/corp/V"]], [["group/corp/V", "group/corp/W"]])


def test_people_are_told_with_their_names() -> None:
    sets = {"levels": [{"sets": [{"allowed": ["group/corp/V"]}, {"allowed": ["group/other/U"]}]}]}
    stays = replace(item("https://x/2"), shared=canonical_json(sets))
    before = [group("V", "user/corp/a"), group("U", "user/corp/b", scope="other"), stays]
    changes = [
        update(before[0], group("V", "user/corp/b")),
        update(before[1], group("U", "user/corp/a", scope="other")),
    ]
    compiled = safely(before, changes)
    [transient] = compiled.order.transients
    assert (transient.people, transient.identities, transient.public) == (1, ("user/corp/b",), False)
    assert (transient.since, transient.until, transient.items) == (1, 2, 1)
