"""The content browser: pages for people on what is indexed, who sees it, who is who, and what was asked.

Everything is an address that can be linked to; there are no scripts. The pages only look: what is pushed
or deleted goes through the API.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator.engine import Engine
from reconciler.emulator.options import ProviderOptions, SourceOptions
from reconciler.emulator.pages.fields import fields_page
from reconciler.emulator.pages.identities import identity_page, provider_page
from reconciler.emulator.pages.items import item_page, log_table, source_page, visible
from reconciler.emulator.pages.markup import Markup, tag, text
from reconciler.emulator.pages.parts import (
    Browser,
    NoSuchPage,
    Page,
    Scene,
    badge,
    clip,
    count,
    frame,
    isolated,
    soft,
    table,
)
from reconciler.emulator.pages.requests import request_page, requests_page
from reconciler.emulator.pages.style import HEADERS

_FAILED = 10

Make = Callable[[Scene, dict[str, str]], Page]


def page_routes(engine: Engine) -> list[Route]:
    """Return the routes of the pages."""
    browser = Browser(engine)
    table: dict[str, Make] = {
        "/": lambda scene, _: overview_page(scene),
        "/browse/{organization}/sources/{source}": lambda scene, at: source_page(scene, at["source"]),
        "/browse/{organization}/sources/{source}/item": lambda scene, at: item_page(scene, at["source"]),
        "/browse/{organization}/providers/{provider:path}": lambda scene, at: provider_page(scene, at["provider"]),
        "/browse/{organization}/identity": lambda scene, _: identity_page(scene),
        "/browse/{organization}/fields": lambda scene, _: fields_page(scene),
        "/browse/{organization}/requests": lambda scene, _: requests_page(scene),
        "/browse/{organization}/requests/{number}": lambda scene, at: request_page(scene, at["number"]),
        "/browse": lambda *_: _no_page(),
        "/browse/{rest:path}": lambda *_: _no_page(),
    }
    icon = Route("/favicon.ico", _no_icon, methods=["GET"])
    return [icon, *(Route(path, _endpoint(browser, make), methods=["GET"]) for path, make in table.items())]


async def _no_icon(request: Request) -> Response:
    """Answer what browsers ask for unasked, so that it does not stand in the request log as a mistake."""
    del request
    return Response(status_code=204)


def _endpoint(browser: Browser, make: Make) -> Callable[..., object]:
    async def show(request: Request) -> Response:
        await browser.engine.settle()
        organizations = browser.engine.options.organizations
        wanted = request.path_params.get("organization", organizations[0])
        known = wanted in organizations
        scene = Scene(browser, request, wanted if known else organizations[0])
        try:
            if not known:
                raise NoSuchPage(f"This emulator has no organization '{clip(wanted)}'.")
            page = make(scene, request.path_params)
        except NoSuchPage as missing:
            page = _missing(scene, str(missing))
        return Response(frame(scene, page), page.status, HEADERS, "text/html; charset=utf-8")

    return show


def _no_page() -> Page:
    raise NoSuchPage("There is no page at this address.")


def _missing(scene: Scene, why: str) -> Page:
    parts = [
        tag("h1", text("Not here")),
        tag("p", isolated(why)),
        tag("p", text("Go to the "), tag("a", text("overview"), href=scene.url()), text(" for all that is there.")),
    ]
    return Page("Not here", Markup("".join(parts)), status=404)


# The overview


def overview_page(scene: Scene) -> Page:
    """Return what every organization holds."""
    parts = [tag("h1", text("Overview"))]
    for name in scene.engine.options.organizations:
        parts += _organization(scene.of(name))
    return Page("Overview", Markup("".join(parts)), here="overview")


def _organization(scene: Scene) -> list[Markup]:
    sources = scene.engine.sources(scene.organization)
    providers = scene.engine.providers(scene.organization)
    paused = scene.organization in scene.engine.options.paused
    columns = ["Source", "Kind", "Visibility", "Identities from", "Status", "Waiting", "Items"]
    if scene.viewer:
        columns.append("They see")
    rows = [_source(scene, place, source) for place, source in sources]
    found = [
        table("Sources", columns, rows, range(5, len(columns))) if rows else tag("p", soft("It has no sources.")),
        table(
            "Security identity providers",
            ("Provider", "Aliases lead to", "Case of names", "Waiting", "Pushed", "Known"),
            [_provider(scene, place, provider) for place, provider in providers],
            range(3, 6),
        ),
    ]
    known = len(scene.engine.fields.all(scene.organization))
    found.append(tag("p", text("Its index has "), scene.link(text(count(known, "field")), "fields"), text(".")))
    heading = Markup(tag("bdi", text(clip(scene.organization))) + (" " + badge("paused", "warn") if paused else ""))
    failed = scene.listing.log([place for place, _ in (*sources, *providers)], _FAILED, failed=True)
    if failed:
        found.append(log_table(scene, failed, "Not indexed: the last operations that were not completed"))
    return [tag("section", tag("h2", heading), *found, class_="lead")]


def _source(scene: Scene, place: int, source: SourceOptions) -> list[Markup]:
    provider = soft("none")
    if source.provider:
        provider = scene.link(isolated(clip(source.provider)), "providers", source.provider)
    row = [
        scene.link(tag("code", text(clip(source.id))), "sources", source.id),
        text(source.kind),
        badge(source.visibility.lower(), {"SHARED": "info", "SECURED": "yes"}.get(source.visibility, "")),
        provider,
        text(scene.engine.database.status(place).lower()),
        text(f"{scene.listing.waiting(place):,}"),
        text(f"{scene.engine.items.count(place):,}"),
    ]
    if scene.viewer:
        row.append(text(visible(scene, place, source)))
    return row


def _provider(scene: Scene, place: int, provider: ProviderOptions) -> list[Markup]:
    return [
        scene.link(isolated(clip(provider.id)), "providers", provider.id),
        isolated(clip(", ".join(provider.cascades_to))) if provider.cascades_to else soft("none"),
        text("matters" if provider.case_sensitive else "does not matter"),
        text(f"{scene.listing.waiting(place):,}"),
        text(f"{scene.listing.identity_count(place):,}"),
        text(f"{len(scene.roll.of(provider.id)):,}"),
    ]
