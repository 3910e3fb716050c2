"""A page for people: what is indexed, who sees it, who is who, and what was asked last. No scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator.access import Decision
from reconciler.emulator.engine import Engine
from reconciler.emulator.items import Item
from reconciler.emulator.markup import Markup, tag, text
from reconciler.emulator.options import SourceOptions
from reconciler.emulator.views import Access

ITEMS_SHOWN = 100
IDENTITIES_SHOWN = 200
REQUESTS_SHOWN = 40
PEOPLE_SHOWN = 12
_KINDS = ("sources", "identities")

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5b6676; --line: #d9dee6; --paper: #fff;
  --wash: #f5f7fa; --yes: #0b6b3a; --no: #a4262c; --accent: #1f4fd1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ebf1; --soft: #9aa6b6; --line: #333d4b;
  --paper: #12171e; --wash: #1a212b; --yes: #5fd197; --no: #ff8f8f; --accent: #8fb0ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 72rem; margin: 0 auto; padding: 1rem 1.25rem; }
header { padding-top: 2rem; } h1 { margin: 0; font-size: 1.5rem; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.15rem; }
h3 { margin: 1.5rem 0 .25rem; font-size: 1rem; } p { margin: .25rem 0; color: var(--soft); }
nav a { color: var(--accent); margin-right: 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: nowrap; } td { overflow-wrap: anywhere; }
th:first-child, td:first-child { min-width: 16rem; }
code { font: .9em ui-monospace, monospace; } .yes { color: var(--yes); } .no { color: var(--no); }
small, .soft { color: var(--soft); } ul { margin: 0; padding: 0; list-style: none; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""


def page_routes(engine: Engine) -> list[Route]:
    """Return the route of the page."""

    async def show(request: Request) -> Response:
        del request
        await engine.settle()
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(render(engine), headers=headers, media_type="text/html; charset=utf-8")

    return [Route("/", show, methods=["GET"])]


def render(engine: Engine) -> str:
    """Return the whole page."""
    parts = [_organization(engine, name) for name in engine.options.organizations]
    names = [(f"{kind}-{name}", f"{kind} of {name}") for name in engine.options.organizations for kind in _KINDS]
    links = [tag("a", text(label.capitalize()), href=f"#{name}") for name, label in [*names, ("requests", "requests")]]
    waiting = engine.database.pending()
    now = datetime.fromtimestamp(engine.clock.now(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    head = tag(
        "header",
        tag("h1", text("Push API emulator")),
        tag("p", text(f"{now}, {waiting} operations waiting to be processed")),
        tag("nav", *links, aria_label="Sections"),
    )
    body = tag("body", head, tag("main", *parts, _requests(engine)))
    styles = tag("style", Markup(_STYLE))
    about = Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">')
    return "<!doctype html>" + tag("html", tag("head", about, tag("title", text("Emulator")), styles), body, lang="en")


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Markup]]) -> Markup:
    head = tag("tr", *(tag("th", text(name), scope="col") for name in columns))
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    if not body:
        return tag("p", text(f"{caption}: none yet."))
    table = tag("table", tag("caption", text(caption)), tag("thead", head), tag("tbody", *body))
    return tag("div", table, class_="wide")


def _lines(lines: Iterable[Markup]) -> Markup:
    return tag("ul", *(tag("li", line) for line in lines))


def _organization(engine: Engine, organization: str) -> Markup:
    access = Access(engine, organization)
    sources = engine.sources(organization)
    overview = _table(
        f"Sources of {organization}",
        ("Source", "Visibility", "Identities from", "Items", "Status"),
        (
            (
                tag("code", text(source.id)),
                text(source.visibility.lower()),
                text(source.provider or "nobody"),
                text(f"{engine.items.count(place):,}"),
                text(engine.database.status(place).lower()),
            )
            for place, source in sources
        ),
    )
    items = [_source(engine, access, place, source) for place, source in sources]
    identities = [_identities(engine, place, name.id) for place, name in engine.providers(organization)]
    return tag(
        "section",
        tag("h2", text(f"Organization {organization}"), id=f"sources-{organization}"),
        overview,
        *items,
        tag("h2", text("Security identities"), id=f"identities-{organization}"),
        *identities,
    )


def _source(engine: Engine, access: Access, place: int, source: SourceOptions) -> Markup:
    count = engine.items.count(place)
    caption = f"{count:,} items" if count <= ITEMS_SHOWN else f"the first {ITEMS_SHOWN} of {count:,} items, by uri"
    rows = (_item(access, item, source) for item in engine.items.each(place, ITEMS_SHOWN))
    columns = ("Item", "Permissions", "Who sees it", "Content")
    return tag("section", tag("h3", text(f"Items of {source.id}")), _table(caption, columns, rows))


def _item(access: Access, item: Item, source: SourceOptions) -> Sequence[Markup]:
    title = tag("strong", text(item.title or "untitled"))
    size = text("no content" if item.body_key is None else f"{item.body_size:,} bytes")
    preview = tag("small", text(item.preview[:160]))
    return (
        Markup(title + tag("br") + tag("code", text(item.uri))),
        _model(item.levels()),
        _people(access, item, source),
        Markup(tag("div", size) + preview),
    )


def _model(levels: list[dict[str, Any]] | None) -> Markup:
    if levels is None:
        return tag("span", text("none"), class_="soft")
    lines = []
    for number, level in enumerate(levels, 1):
        for entry in level["permissionSets"]:
            prefix = f"Level {number}: " if len(levels) > 1 else ""
            if entry["allowAnonymous"]:
                lines.append(tag("span", text(f"{prefix}everybody"), class_="yes"))
            for key, word in (("allowedPermissions", "allowed"), ("deniedPermissions", "denied")):
                if entry[key]:
                    names = _some([_permission(permission) for permission in entry[key]])
                    kind = "yes" if word == "allowed" else "no"
                    lines.append(Markup(tag("span", text(f"{prefix}{word} "), class_=kind) + text(names)))
    return _lines(lines)


def _permission(permission: dict[str, Any]) -> str:
    return f"{permission['identityType'].lower()} {permission['identity']}"


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - PEOPLE_SHOWN} more" if len(names) > PEOPLE_SHOWN else ""
    return ", ".join(names[:PEOPLE_SHOWN]) + rest


def _people(access: Access, item: Item, source: SourceOptions) -> Markup:
    if access.public(item, source):
        return tag("span", text("everybody"), class_="yes")
    if source.visibility == "PRIVATE" and item.permissions is None:
        return tag("span", text("the source's own users"), class_="soft")
    decisions = access.viewers(item)
    allowed = [f"{who.name} ({who.provider})" for who, say in decisions.items() if say is Decision.ALLOWED]
    denied = [f"{who.name} ({who.provider})" for who, say in decisions.items() if say is Decision.DENIED]
    lines = [tag("span", text(_some(allowed) or "nobody"), class_="yes" if allowed else "no")]
    if denied:
        lines.append(tag("span", text(f"not {_some(denied)}"), class_="no"))
    return _lines(lines)


def _identities(engine: Engine, place: int, provider: str) -> Markup:
    rows = engine.identities.rows(place)
    shown = [
        (
            Markup(tag("strong", text(row.name)) + text(" (disabled)" if row.disabled else "")),
            text(row.type.lower().replace("_", " ")),
            text(_listed(row.members)),
            text(_listed(row.well_knowns)),
            text(_listed(row.mappings, providers=True)),
        )
        for row in rows[:IDENTITIES_SHOWN]
    ]
    count = f"{len(rows):,} pushed identities"
    if len(rows) > IDENTITIES_SHOWN:
        count = f"the first {IDENTITIES_SHOWN} of {count}"
    columns = ("Identity", "Type", "Members", "Belongs to", "Also known as")
    return tag("section", tag("h3", text(provider)), _table(count, columns, shown))


def _listed(listed: str, providers: bool = False) -> str:
    entries = orjson.loads(listed)
    return _some([f"{name} ({provider})" if providers else f"{name}" for provider, _, name, _ in entries])


def _requests(engine: Engine) -> Markup:
    entries = engine.requests.entries()[-REQUESTS_SHOWN:][::-1]
    rows = (
        (
            text(datetime.fromtimestamp(entry.at, UTC).strftime("%H:%M:%S")),
            tag("code", text(entry.method)),
            Markup(
                tag("code", text(entry.path))
                + tag("div", text(", ".join(f"{key}={value[:120]}" for key, value in _shown(entry.query))))
            ),
            text(f"{entry.size:,}"),
            tag("span", text(f"{entry.status} {entry.error or ''}"), class_="yes" if entry.status < 400 else "no"),
        )
        for entry in entries
    )
    table = _table("the last requests, newest first", ("Time", "Method", "Path", "Bytes", "Answer"), rows)
    return tag("section", tag("h2", text("Requests"), id="requests"), table)


def _shown(query: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(key, value) for key, value in query if not key.lower().startswith("x-amz")]
