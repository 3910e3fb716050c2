"""The pages of a security identity provider and of one of its identities."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import orjson

from reconciler.emulator.access import Graph, Who
from reconciler.emulator.identities import IdentityRow
from reconciler.emulator.options import EMAIL_PROVIDER, ProviderOptions
from reconciler.emulator.pages.items import COUNTED
from reconciler.emulator.pages.listing import Wanted, remembering
from reconciler.emulator.pages.markup import Markup, join, tag, text
from reconciler.emulator.pages.parts import (
    PAGE,
    NoSuchPage,
    Page,
    Scene,
    badge,
    choice,
    clip,
    count,
    entry,
    facts,
    field,
    identity_query,
    isolated,
    kind_name,
    lines,
    moment,
    pager,
    search_form,
    section,
    soft,
    state_tag,
    table,
)
from reconciler.emulator.roll import KINDS, Viewer, read_info, type_of

_NAMED = 8
_RELATED = 100
_SEEN = 20
_STATES = (
    ("", "any"),
    ("UP_TO_DATE", "up to date"),
    ("NOT_UPDATED", "unresolved"),
    ("DISABLED", "disabled"),
)


def _provider(scene: Scene, name: str) -> tuple[int, ProviderOptions]:
    for place, provider in scene.engine.providers(scene.organization):
        if provider.id == name:
            scene.home = name
            return place, provider
    raise NoSuchPage(f"The organization has no security identity provider '{clip(name)}'.")


# A provider


def provider_page(scene: Scene, name: str) -> Page:
    """Return the identities of a provider, pushed or named by pushed ones, a page at a time."""
    place, provider = _provider(scene, name)
    words, state, kind = (scene.query.get(key, "").strip() for key in ("q", "state", "type"))
    found = [
        who
        for who in scene.roll.of(provider.id)
        if words.casefold() in who.name.casefold()
        and (not kind or KINDS.get(who.type) == kind)
        and (not state or scene.access.identity_state(who) == state)
    ]
    start = (scene.page - 1) * PAGE
    shown = found[start : start + PAGE]
    kinds = [("", "any"), *((label, label.replace("-", " ")) for label in KINDS.values())]
    fields = [
        field("Name holds", entry("q", words), "q", grow=True),
        field("Type", choice("type", kind, kinds), "type"),
        field("State", choice("state", state, _STATES), "state"),
    ]
    parts = [
        tag("h1", isolated(clip(provider.id))),
        _provider_facts(scene, place, provider),
        search_form(scene, *fields, names=("q", "state", "type")),
    ]
    if shown:
        caption = count(len(found), "identity", "identities") + ", by type and name"
        rows = [_row(scene, place, provider, who) for who in shown]
        parts.append(table(caption, ("Identity", "State", "Members", "Belongs to", "Also known as"), rows))
        parts.append(pager(scene, len(shown), len(found), len(found) > start + PAGE))
    elif found:
        parts.append(
            tag("p", text("The list ends before this page. "), tag("a", text("First page"), href=scene.here(page="")))
        )
    else:
        parts.append(
            tag("p", text("No identity is like that." if words or kind or state else "It has no identities yet."))
        )
    return Page(provider.id, Markup("".join(parts)), (("Overview", scene.url()),))


def _provider_facts(scene: Scene, place: int, provider: ProviderOptions) -> Markup:
    known = {found.id for _, found in scene.engine.providers(scene.organization)}
    cascades = [
        scene.link(isolated(clip(name)), "providers", name) if name in known else isolated(clip(name))
        for name in provider.cascades_to
    ]
    users = [source.id for _, source in scene.engine.sources(scene.organization) if source.provider == provider.id]
    pairs = [
        ("Pushed", text(f"{scene.listing.identity_count(place):,}")),
        ("Aliases lead to", join(cascades, ", ") if cascades else soft("none")),
        (
            "Used by",
            join((scene.link(tag("code", text(name)), "sources", name) for name in users), ", ") or soft("none"),
        ),
        ("Case of names", text("matters" if provider.case_sensitive else "does not matter")),
        ("Waiting", text(f"{scene.listing.waiting(place):,}")),
    ]
    watermark = scene.engine.database.watermark(place)
    if watermark:
        pairs.append(("Older pushes refused below", text(int(watermark))))
    return facts(pairs, "facts")


def _stored(scene: Scene, place: int, who: Who) -> IdentityRow | None:
    return scene.listing.identity(place, orjson.dumps((who.type, who.name, who.info)).decode())


def _row(scene: Scene, place: int, provider: ProviderOptions, who: Who) -> list[Markup]:
    row = _stored(scene, place, who)
    label = Markup(
        tag("span", text(f"{kind_name(who.type)} "), class_="kind") + isolated(clip(scene.roll.name(who), 90))
    )
    name = scene.link(label, "identity", **identity_query(who))
    details = ", ".join(f"{key}={value}" for key, value in who.info)
    if details:
        name = Markup(name + tag("span", isolated(clip(details)), class_="sub"))
    state = state_tag(scene.access.identity_state(who))
    if row is None:
        named = soft("named only") if provider.id != EMAIL_PROVIDER else soft("none")
        return [name, state, named, soft("none"), soft("none")]
    return [name, state, *(_listed(scene, listed) for listed in (row.members, row.well_knowns, row.mappings))]


def _listed(scene: Scene, listed: str) -> Markup:
    named = [(_who(scene, found), found[2]) for found in orjson.loads(listed)]
    if not named:
        return soft("none")
    links = [scene.identity_link(who, name) for who, name in named[:_NAMED]]
    if len(named) > _NAMED:
        links.append(soft(f"and {len(named) - _NAMED:,} more"))
    return lines(links)


def _who(scene: Scene, found: list[object]) -> Who:
    provider, kind, name, info = found
    pairs = info.items() if isinstance(info, dict) else ()
    return scene.directory.who(str(provider), str(kind), str(name), pairs)


# An identity


def identity_page(scene: Scene) -> Page:
    """Return what is known of an identity: its relations in both directions, and what it sees."""
    asked = scene.query
    type_, name = type_of(asked.get("type", "user")), asked.get("name", "")
    provider = asked.get("provider") or EMAIL_PROVIDER
    if type_ is None or not name:
        raise NoSuchPage("An identity has a type (user, group, virtual-group or unknown) and a name.")
    who = scene.directory.who(provider, type_, name, read_info(asked.get("info", "")))
    spelled = scene.roll.name(who) if scene.roll.knows(who) else name
    places = {found.id: place for place, found in scene.engine.providers(scene.organization)}
    row = _stored(scene, places[provider], who) if provider in places else None
    scene.home = provider
    look = Viewer(type_, spelled, provider, who.info)
    as_them = scene.url("browse", scene.organization, "identity", **identity_query(who), **look.query)
    if scene.viewer is None:
        offer = tag("p", tag("a", text(f"View everything as this {kind_name(type_)}"), href=as_them))
    else:
        offer = Markup("")
    parts = [
        tag("h1", tag("span", text(kind_name(type_)), class_="soft"), text(" "), isolated(clip(spelled))),
        _identity_facts(scene, who, row, known=provider in places),
        offer,
        _relations(scene, who),
        _sees(scene, who, look),
    ]
    above = scene.browse("providers", provider) if provider in places else scene.url()
    trail = (("Overview", scene.url()), (provider if provider in places else "Identities", above))
    return Page(f"{kind_name(type_)} {spelled}", Markup("".join(parts)), trail)


def _identity_facts(scene: Scene, who: Who, row: IdentityRow | None, known: bool) -> Markup:
    name = isolated(clip(who.provider))
    pairs = [
        ("State", state_tag(scene.access.identity_state(who))),
        (
            "Provider",
            scene.link(name, "providers", who.provider) if known else Markup(name + soft(" (none of this name)")),
        ),
    ]
    if who.info:
        pairs.append(("Additional information", isolated(clip(", ".join(f"{key}={value}" for key, value in who.info)))))
    if row is None:
        pairs.append(("Pushed", soft("never; others name it" if scene.roll.knows(who) else "never")))
        return facts(pairs, "facts")
    pairs.append(("Pushed", moment(row.updated)))
    for label, ordering in (
        ("Ordering id of members", row.members_ordering),
        ("Ordering id of aliases", row.mappings_ordering),
    ):
        if ordering:
            pairs.append((label, text(int(ordering))))
    return facts(pairs, "facts")


def _relations(scene: Scene, who: Who) -> Markup:
    graph = scene.access.graph
    record = graph.records.get(who)
    members = graph.children.get(who, set())
    groups = graph.parents.get(who, set())
    itself = {who, *_same(graph, who)}
    direct = [
        ("Members", _links(scene, members)),
        ("Members through others", _links(scene, graph.below((who,)) - members - itself)),
        ("Belongs to", _links(scene, groups)),
        ("Belongs to through others", _links(scene, graph.of(who) - groups - graph.anonymous - itself)),
        ("Well-knowns pushed with it", _links(scene, record.well_knowns if record else ())),
        ("Aliases pushed with it", _links(scene, record.mappings if record else ())),
        ("Named as an alias by", _links(scene, graph.aliases.get(who, set()) - set(record.mappings if record else ()))),
    ]
    return section("Relations", facts(direct))


def _same(graph: Graph, who: Who) -> set[Who]:
    """Return the identities that stand for the same person."""
    found, waiting = {who}, [who]
    while waiting:
        near = graph.aliases.get(waiting.pop(), set()) - found
        found |= near
        waiting.extend(near)
    return found


def _links(scene: Scene, whos: Iterable[Who]) -> Markup:
    ranked = sorted(whos)
    if not ranked:
        return soft("none")
    links = [scene.identity_link(who) for who in ranked[:_RELATED]]
    if len(ranked) > _RELATED:
        links.append(soft(f"and {len(ranked) - _RELATED:,} more"))
    return lines(links)


def _sees(scene: Scene, who: Who, look: Viewer) -> Markup:
    """Return how much of each source this identity sees, and the first of it."""
    identities = scene.access.graph.of(who)
    rows = []
    for place, source in scene.engine.sources(scene.organization):
        wanted = Wanted(place, sees=remembering(partial(scene.sees_as, source=source, identities=identities)))
        whole = scene.engine.items.count(place)
        counted = f"{scene.listing.count(wanted):,} of {whole:,}" if whole <= COUNTED else f"of {whole:,}"
        first = [scene.item_link(source.id, item.uri) for item in scene.listing.items(wanted, _SEEN, 0)]
        theirs = scene.url("browse", scene.organization, "sources", source.id, **look.query)
        rows.append(
            (
                tag("a", tag("code", text(clip(source.id))), href=theirs),
                badge(source.visibility.lower()),
                text(counted),
                lines(first) if first else soft("nothing"),
            )
        )
    if not rows:
        return section("What it sees", tag("p", text("The organization has no sources.")))
    caption = f"By source; at most the first {_SEEN} items of each"
    return section("What it sees", table(caption, ("Source", "Visibility", "Items", "First of them"), rows))
