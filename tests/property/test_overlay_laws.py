"""Overlays that are accepted without a reason show nobody anything new, by the definition of who sees what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import event, given, settings
from hypothesis import strategies as st

from reconciler.manifest.overlaycheck import Base, Outcome, access_problems
from reconciler.manifest.overlaying import Patch, mistakes, patched
from reconciler.manifest.project import Environment, Project, Provider, Source
from reconciler.manifest.readings import readings_of
from reconciler.manifest.spelling import Spelling
from reconciler.model.canonical import canonical_json
from reconciler.problems import Position, errors_in
from tests.property.test_permissions import (
    ANYBODY,
    GROUPS,
    MODELS,
    VISIBILITY,
    WORLDS,
    World,
    defined,
    known,
    related,
    some,
)

PROJECT = Project(
    Environment("prod", "emulator", "org", "prod.db"),
    (),
    tuple(Source(name, name, visibility, "corp") for name, visibility in VISIBILITY.items()),  # type: ignore[arg-type]
    (Provider("corp", "corp-id"), Provider("exact", "exact-id", case_sensitive=True)),
)
READINGS = readings_of(PROJECT)
KEY = Spelling.of(PROJECT).key
# Whoever is of a domain and otherwise unknown, as the definition has them.
STRANGERS = [f"user/{READINGS.email_provider}/nobody-knows@{domain}" for domain in ("x.org", "Y.org", "z.org")]


def at(number: int) -> Position:
    return Position("overlay.yaml", number, 1)


@st.composite
def item_patches(draw: st.DrawFn, world: World, *, kinds: str = "permissions deny disallow exclude") -> Patch | None:
    items = sorted(address for address in world if address.startswith("item/"))
    kind = draw(st.sampled_from(kinds.split()))
    if kind in ("deny", "disallow"):
        items = [address for address in items if world[address].shared]
    if not items:
        return None
    addresses = tuple(draw(st.lists(st.sampled_from(items), min_size=1, max_size=3, unique=True)))
    patch = Patch(at(1), "", "items", addresses)
    if kind == "permissions":
        return replace(patch, permissions=canonical_json(draw(MODELS).to_doc()))
    if kind == "exclude":
        return replace(patch, exclude=True)
    names = tuple(draw(some(ANYBODY, 3)))
    return replace(patch, deny=names) if kind == "deny" else replace(patch, disallow=names)


@st.composite
def group_patches(draw: st.DrawFn, world: World) -> Patch | None:
    groups = sorted(address for address in world if address in GROUPS)
    if not groups:
        return None
    address = draw(st.sampled_from(groups))
    return Patch(
        at(1), "", address, (address,), add=tuple(draw(some(ANYBODY, 2))), remove=tuple(draw(some(ANYBODY, 2)))
    )


@st.composite
def overlaid(draw: st.DrawFn) -> tuple[World, list[Patch]]:
    """Draw a world, and patches of it that do not contradict each other; some give a reason."""
    world = draw(WORLDS)
    drawn = draw(st.lists(item_patches(world) | group_patches(world), min_size=1, max_size=4))
    patches = []
    for number, patch in enumerate(filter(None, drawn), 1):
        named = replace(patch, position=at(number), widens=draw(st.sampled_from(["", "", "a reason"])))
        wrong = mistakes(world, [*patches, named], KEY)
        if not any(problem.code == "overlay-conflict" for problem in wrong):
            patches.append(named)
    return world, patches


def outcome(world: World, patches: Sequence[Patch]) -> Outcome:
    addresses = {address for patch in patches for address in patch.addresses}
    found = {
        address: patched(world[address], [patch for patch in patches if address in patch.addresses], KEY)
        for address in addresses
    }
    return {address: became for address, became in found.items() if became != world[address]}


def become(world: World, change: Outcome) -> World:
    after = {address: change.get(address, resource) for address, resource in world.items()}
    return {address: resource for address, resource in after.items() if resource is not None}


def judged(world: World, patches: Sequence[Patch]) -> list[str]:
    base = Base(
        PROJECT,
        {address: resource.fingerprint for address, resource in world.items()},
        lambda addresses: {address: world[address] for address in addresses},
        {},
    )
    return [problem.code for problem in errors_in(access_problems(base, patches, lambda some: outcome(world, some)))]


def shown(before: World, after: World) -> bool:
    """Whether anybody, known or not, sees in the second world what they do not see in the first: by brute force."""
    people = known(related(before, READINGS)) | known(related(after, READINGS)) | set(STRANGERS)
    was, now = (defined(world, READINGS, people) for world in (before, after))
    return bool(now.pairs - was.pairs or now.public - was.public)


@settings(max_examples=250, deadline=None)
@given(overlaid())
def test_what_is_refused_is_what_shows_somebody_something(drawn: tuple[World, list[Patch]]) -> None:
    """Beside the patches that have a reason, the others are refused if and only if they show somebody something."""
    world, patches = drawn
    company = become(world, outcome(world, [patch for patch in patches if patch.widens]))
    widened = shown(company, become(world, outcome(world, patches)))
    event("widens" if widened else "does not")
    assert (judged(world, patches) != []) == widened


@settings(max_examples=80, deadline=None)
@given(overlaid())
def test_what_is_accepted_without_any_reason_never_widens(drawn: tuple[World, list[Patch]]) -> None:
    world, patches = drawn[0], [replace(patch, widens="") for patch in drawn[1]]
    if not judged(world, patches):
        assert not shown(world, become(world, outcome(world, patches)))


@settings(max_examples=80, deadline=None)
@given(st.data(), WORLDS)
def test_denying_and_excluding_are_always_accepted(data: st.DataObject, world: World) -> None:
    patch = data.draw(item_patches(world, kinds="deny exclude"))
    if patch is not None:
        assert judged(world, [patch]) == []


@settings(max_examples=80, deadline=None)
@given(st.data(), overlaid())
def test_the_order_of_patches_means_nothing(data: st.DataObject, drawn: tuple[World, list[Patch]]) -> None:
    world, patches = drawn
    shuffled = data.draw(st.permutations(patches))
    assert outcome(world, shuffled) == outcome(world, patches)
    assert sorted(judged(world, shuffled)) == sorted(judged(world, patches))
