"""A permission model for the eye: its levels and sets, who sees the item by them, and why."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from reconciler.emulator.access import Decision, Who
from reconciler.emulator.items import Item
from reconciler.emulator.options import SourceOptions
from reconciler.emulator.pages.markup import Markup, join, tag, text
from reconciler.emulator.pages.parts import Scene, badge, count, isolated, lines, section, soft, table
from reconciler.emulator.roll import Reason

LISTED = 40
"""Identities of one set that are shown."""
PEOPLE = 100
"""People of one item that are shown."""
_FEW = 3
_BESIDE = 3
_HEALTH = {
    "VALID": ("valid", "yes", "every identity that it names is known"),
    "INCOMPLETE": ("incomplete", "warn", "an identity that it names is not known, and counts for nobody"),
    "IN_ERROR": ("in error", "no", "a denied identity of the first level is not known: somebody may see too much"),
}


def summary(scene: Scene, item: Item, source: SourceOptions) -> Markup:
    """Return a permission model in one cell of a table."""
    levels = item.levels()
    if levels is None:
        return soft("everybody" if source.visibility == "SHARED" else "none of its own")
    sets = [entry for level in levels for entry in level["permissionSets"]]
    parts = []
    if any(entry["allowAnonymous"] for entry in sets):
        parts.append(Markup(badge("allowed", "yes") + text(" anybody")))
    for key, label, kind in (("allowedPermissions", "allowed", "yes"), ("deniedPermissions", "denied", "no")):
        named = {_who(scene, permission): permission["identity"] for entry in sets for permission in entry[key]}
        if named:
            few = join((scene.identity_link(who, name) for who, name in islice(named.items(), _FEW)), ", ")
            rest = text(f" and {len(named) - _FEW:,} more") if len(named) > _FEW else Markup("")
            parts.append(Markup(badge(label, kind) + " " + few + rest))
    if len(levels) > 1 or len(sets) > 1:
        parts.append(soft(f"{count(len(levels), 'level')}, {count(len(sets), 'set')}"))
    return lines(parts or [soft("nobody")])


def _who(scene: Scene, permission: dict[str, Any]) -> Who:
    return scene.directory.permission(permission)


def drawn(scene: Scene, item: Item, source: SourceOptions) -> Markup:
    """Return the section that draws the levels, their sets, and who is in them."""
    levels = item.levels()
    if levels is None:
        return section("Permission model", tag("p", text(f"None was pushed. {_without_model(source)}")))
    label, kind, meaning = _HEALTH[scene.access.state(item)]
    about = tag("p", badge(label, kind), text(f" {meaning}."))
    drawings = [_level(scene, rank, level) for rank, level in enumerate(levels, 1)]
    rule = tag(
        "p",
        text("The first level that allows or denies somebody decides. A level denies whom one of its sets denies, "),
        text("and allows whom all of its sets allow; whom no level mentions sees nothing."),
        class_="soft small",
    )
    return section("Permission model", about, tag("ol", *drawings, class_="levels"), rule)


def _without_model(source: SourceOptions) -> str:
    if source.visibility == "SHARED":
        return "Items of a shared source are seen by everybody."
    return "Items of a private source are seen by the users of the source."


def _level(scene: Scene, rank: int, level: dict[str, Any]) -> Markup:
    named = tag("span", text(" · "), isolated(level["name"]), class_="soft") if level["name"] else Markup("")
    name = Markup(text(f"Level {rank}") + named)
    sets = [tag("li", *_set(scene, entry)) for entry in level["permissionSets"]]
    shown = (
        tag("ul", *sets, class_="sets stack" if len(sets) > _BESIDE else "sets")
        if sets
        else soft("It has no sets, and decides nothing.")
    )
    return tag("li", tag("div", tag("h3", name), shown, class_="level"))


def _set(scene: Scene, entry: dict[str, Any]) -> Iterable[Markup]:
    if entry["name"]:
        yield tag("p", isolated(entry["name"]), class_="small soft")
    if entry["allowAnonymous"]:
        yield tag("h4", badge("Allowed", "yes"))
        yield tag("p", text("Anybody, also who did not log in"))
    for key, label, kind in (("allowedPermissions", "Allowed", "yes"), ("deniedPermissions", "Denied", "no")):
        if entry[key]:
            yield tag("h4", badge(label, kind))
            links = [scene.identity_link(_who(scene, it), it["identity"]) for it in entry[key][:LISTED]]
            if len(entry[key]) > LISTED:
                links.append(soft(f"and {len(entry[key]) - LISTED:,} more"))
            yield lines(links)
    if not (entry["allowAnonymous"] or entry["allowedPermissions"] or entry["deniedPermissions"]):
        yield tag("p", soft("It names nobody, and so allows nobody."))


# Who sees it


def verdict(scene: Scene, item: Item, source: SourceOptions) -> Markup:
    """Return the note that says whether the viewer sees the item, and why."""
    viewer = scene.viewer
    if viewer is None:
        return Markup("")
    name = f"{viewer.name}" if viewer.name else "Somebody who did not log in"
    sees = scene.sees(item, source)
    word = "sees this item." if sees else "does not see this item."
    why = because(scene, item, source, scene.identities)
    said = tag("p", tag("strong", isolated(name), text(f" {word}")))
    return tag("div", said, tag("p", why, class_="soft"), class_=f"note {'yes' if sees else 'no'}", role="note")


def because(scene: Scene, item: Item, source: SourceOptions, identities: frozenset[Who]) -> Markup:
    """Return why somebody with `identities` sees an item or does not."""
    if source.visibility == "SHARED":
        return text("The source is shared: everybody sees its items.")
    if item.permissions is None:
        return text("The item has no permission model of its own.")
    reason = scene.reason(item, identities)
    if scene.access.decision(item, source, identities) is not reason.decision:
        return text("A denied identity of the first level is not known, which hides the item from everybody.")
    return _told(scene, reason)


def _told(scene: Scene, reason: Reason) -> Markup:
    if reason.level is None:
        return text("No level allows or denies them.")
    if reason.decision is Decision.DENIED and not reason.through:
        return text(f"Level {reason.level} allows them in some of its sets only, which counts as denied.")
    word = "allows" if reason.decision is Decision.ALLOWED else "denies"
    named = [scene.identity_link(who) for who in reason.through[:_FEW]]
    if reason.anyone:
        named.append(text("anybody"))
    if len(reason.through) > _FEW:
        named.append(text(f"{len(reason.through) - _FEW:,} more"))
    return Markup(text(f"Level {reason.level} {word} ") + join(named, ", "))


def people(scene: Scene, item: Item, source: SourceOptions) -> Markup:
    """Return the section of effective permissions: every user that the model concerns."""
    heading = "Who sees it"
    if source.visibility == "SHARED" or item.permissions is None:
        return section(heading, tag("p", text(_without_model(source))))
    parts = []
    if scene.access.public(item, source):
        parts.append(tag("p", badge("everybody", "yes"), text(" also who did not log in")))
    decisions = scene.access.viewers(item)
    ranked = sorted(decisions, key=lambda who: (decisions[who] is not Decision.ALLOWED, who))
    allowed = sum(decision is Decision.ALLOWED for decision in decisions.values())
    caption = f"{count(allowed, 'user')} of {len(decisions):,} that it concerns may see it"
    if len(ranked) > PEOPLE:
        caption += f"; the first {PEOPLE} are shown"
    graph = scene.access.graph
    rows = [
        (
            scene.identity_link(who),
            badge("sees it", "yes") if decisions[who] is Decision.ALLOWED else badge("does not", "no"),
            because(scene, item, source, graph.of(who)),
        )
        for who in ranked[:PEOPLE]
    ]
    if rows:
        parts.append(table(caption, ("User", "Result", "Because"), rows))
    else:
        parts.append(tag("p", text("No user is known that the model concerns.")))
    lost = _unresolved(scene, item)
    if lost:
        words = "These identities are named but not known, and so stand for nobody:"
        parts.append(tag("p", text(words)))
        parts.append(lines([scene.identity_link(who, name) for who, name in islice(lost.items(), LISTED)]))
    return section(heading, *parts)


def _unresolved(scene: Scene, item: Item) -> dict[Who, str]:
    found: dict[Who, str] = {}
    for level in item.levels() or ():
        for entry in level["permissionSets"]:
            for permission in entry["allowedPermissions"] + entry["deniedPermissions"]:
                who = _who(scene, permission)
                if not scene.access.graph.resolved(who):
                    found[who] = permission["identity"]
    return found
