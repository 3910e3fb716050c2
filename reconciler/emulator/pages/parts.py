"""What all pages of the content browser are made of: the frame, links, tables, tags, and who is looking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from urllib.parse import parse_qsl, quote, urlencode

import orjson
from starlette.requests import Request

from reconciler.emulator.access import Directory, Who
from reconciler.emulator.engine import Engine
from reconciler.emulator.options import EMAIL_PROVIDER, SourceOptions
from reconciler.emulator.pages.listing import Listing
from reconciler.emulator.pages.markup import Markup, is_plain, join, tag, text
from reconciler.emulator.pages.style import STYLE
from reconciler.emulator.roll import ANONYMOUS, KINDS, Reason, Roll, explain, read_viewer
from reconciler.emulator.views import Access, Model, Permitted

PAGE = 50
"""Rows of a page."""
_SUGGESTED = 50
_VIEWING = ("as", "as-provider", "as-info")


class NoSuchPage(Exception):
    """What the address names is not there; the message says what, for the page that says so."""


class Browser:
    """What outlives a page: the engine, its listing, and the identities until one of them changes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.listing = Listing(engine.database)
        self._rolls: dict[str, Roll] = {}

    def roll(self, organization: str) -> Roll:
        graph = self.engine.identities.graph(organization)
        roll = self._rolls.get(organization)
        if roll is None or roll.graph is not graph:
            roll = self._rolls[organization] = Roll(self.engine, organization, graph)
        return roll


@dataclass(frozen=True, slots=True)
class Page:
    """A page's own part, for `frame` to put into what all pages share."""

    title: str
    main: Markup
    trail: tuple[tuple[str, str], ...] = ()
    """Names and addresses of the pages above this one."""
    here: str = ""
    """Which of the sections this page belongs to."""
    status: int = 200


class Scene:
    """One request of a page: what was asked for, and as whom."""

    def __init__(self, browser: Browser, request: Request, organization: str) -> None:
        self._request = request
        self.browser = browser
        self.engine = browser.engine
        self.listing = browser.listing
        self.path: str = request.scope["path"]
        raw: bytes = request.scope["query_string"]
        self.pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True)
        self.query = dict(self.pairs)
        self.organization = organization
        self.viewer = read_viewer(self.query)
        self.home = EMAIL_PROVIDER
        """The provider that this page's identities mostly have; only others are said."""

    def of(self, organization: str) -> Scene:
        """Return the same request, looking at another organization."""
        return Scene(self.browser, self._request, organization)

    @cached_property
    def access(self) -> Access:
        return Access(self.engine, self.organization)

    @property
    def directory(self) -> Directory:
        """How this organization spells identities."""
        return self.engine.identities.directory_of(self.organization)

    @cached_property
    def roll(self) -> Roll:
        return self.browser.roll(self.organization)

    @property
    def page(self) -> int:
        """The page that was asked for, from 1."""
        value = self.query.get("page", "1")
        return max(1, int(value)) if value.isascii() and value.isdigit() and len(value) < 8 else 1

    # Who is looking

    @cached_property
    def identities(self) -> frozenset[Who]:
        """All identities that the viewer has; those of an anonymous one when nobody is chosen."""
        graph = self.access.graph
        return graph.anonymous if self.watching is None else graph.of(self.watching)

    @cached_property
    def watching(self) -> Who | None:
        """The viewer as an identity; without a provider, in the first that knows it, else in the e-mail one."""
        viewer = self.viewer
        if viewer is None or not viewer.name:
            return None
        providers = [viewer.provider]
        if not viewer.provider:
            providers = [EMAIL_PROVIDER, *(entry.id for _, entry in self.engine.providers(self.organization))]
        found = [self.directory.who(provider, viewer.type, viewer.name, viewer.info) for provider in providers]
        return next((who for who in found if self.roll.knows(who)), found[0])

    def sees(self, item: Permitted, source: SourceOptions) -> bool:
        return self.access.sees(item, source, self.identities)

    def sees_model(self, permissions: str | None, source: SourceOptions) -> bool:
        return self.sees_as(permissions, source, self.identities)

    def sees_as(self, permissions: str | None, source: SourceOptions, identities: frozenset[Who]) -> bool:
        return self.access.sees(Model(permissions), source, identities)

    def reason(self, item: Permitted, identities: frozenset[Who]) -> Reason:
        return explain(self.access.levels(item), identities, self.engine.options.doubts.partial_level)

    # Addresses

    def url(self, *segments: str, **query: str) -> str:
        """Return the address of a page, looked at by the same viewer."""
        return address(segments, {**query, **(self.viewer.query if self.viewer else {})})

    def browse(self, *segments: str, **query: str) -> str:
        """Return the address of a page of this organization."""
        return self.url("browse", self.organization, *segments, **query)

    def link(self, label: Markup, *segments: str, **query: str) -> Markup:
        return tag("a", label, href=self.browse(*segments, **query))

    def item_link(self, source: str, uri: str, label: Markup | None = None) -> Markup:
        return self.link(label or tag("code", text(clip(uri))), "sources", source, "item", uri=uri)

    def here(self, **changes: str) -> str:
        """Return this page's address with some parameters changed; empty ones go."""
        return address(self.path.strip("/").split("/"), {**self.query, **changes})

    def identity_link(self, who: Who, name: str | None = None) -> Markup:
        """Return an identity with its kind, its provider unless the page is about it, and its state if that is bad."""
        shown = name or self.roll.name(who)
        label = Markup(tag("span", text(f"{kind_name(who.type)} "), class_="kind") + isolated(clip(shown, 90)))
        details = [f"{key}={value}" for key, value in who.info]
        if who.provider != self.home:
            details.append(who.provider)
        parts = [self.link(label, "identity", **identity_query(who))]
        if details:
            parts.append(tag("span", isolated(clip(", ".join(details))), class_="soft small"))
        state = self.access.identity_state(who)
        if state != "UP_TO_DATE":
            parts.append(state_tag(state))
        return join(parts, " ")


def address(segments: Iterable[str], query: Mapping[str, str]) -> str:
    """Return a path with a query; parameters without a value are left out."""
    pairs = {key: value for key, value in query.items() if value}
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    return path + ("?" + urlencode(pairs, errors="replace") if pairs else "")


def identity_query(who: Who) -> dict[str, str]:
    """Return an identity as the parameters of its page."""
    query = {"provider": who.provider, "type": KINDS.get(who.type, "unknown"), "name": who.name}
    if who.info:
        query["info"] = orjson.dumps(dict(who.info)).decode()
    return query


# Small things


def clip(value: str, most: int = 240) -> str:
    """Return a text that no table suffers from."""
    return value if len(value) <= most else value[: most - 30] + " \u2026 " + value[-27:]


def isolated(value: str) -> Markup:
    """Return a value whose direction of writing stays its own."""
    return tag("bdi", text(value))


def kind_name(type_: str) -> str:
    return KINDS.get(type_, type_.lower()).replace("-", " ")


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(number: int) -> str:
    """Return a number of bytes for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return count(number, "byte")


def moment(seconds: float) -> Markup:
    """Return a time; one that no calendar holds, as its seconds."""
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return text(f"{seconds:.0f} s")
    return tag("time", text(f"{at:%Y-%m-%d %H:%M:%S}"), datetime=at.isoformat(timespec="milliseconds"), class_="w")


def badge(label: str, kind: str = "") -> Markup:
    return tag("span", text(label), class_=f"tag {kind}".strip())


def soft(value: str) -> Markup:
    return tag("span", text(value), class_="soft")


_STATES = {"UP_TO_DATE": ("up to date", "yes"), "NOT_UPDATED": ("unresolved", "warn"), "DISABLED": ("disabled", "no")}


def state_tag(state: str) -> Markup:
    return badge(*_STATES.get(state, (state.lower(), "")))


def result_tag(result: str) -> Markup:
    return badge(result.lower(), {"COMPLETED": "yes", "SKIPPED": "warn"}.get(result, "no"))


def lines(entries: Iterable[Markup]) -> Markup:
    return tag("ul", *(tag("li", entry) for entry in entries), class_="plain")


def facts(pairs: Iterable[tuple[str, Markup]], class_: str = "") -> Markup:
    """Return names with values; each pair by itself when it has a class to be laid out by."""
    cells = [Markup(tag("dt", text(name)) + tag("dd", value)) for name, value in pairs]
    if not class_:
        return tag("dl", *cells)
    return tag("dl", *(tag("div", cell) for cell in cells), class_=class_)


def section(heading: str, *content: Markup) -> Markup:
    return tag("section", tag("h2", text(heading)), *content)


# Tables


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Markup]], numbers: Sequence[int] = ()
) -> Markup:
    """Return a table whose rows are named by their first cell; on a narrow screen each row becomes a card.

    The roles say again what the elements do: a card is laid out as no table, and must be read as one still.
    """
    classes = [{"class_": "n"} if rank in numbers else {} for rank in range(len(columns))]
    head = [
        tag("th", text(name), scope="col", role="columnheader", **extra)
        for name, extra in zip(columns, classes, strict=True)
    ]
    body = []
    for row in rows:
        cells = [tag("th", row[0], scope="row", role="rowheader", **classes[0])]
        for name, cell, extra in zip(columns[1:], row[1:], classes[1:], strict=True):
            cells.append(tag("td", tag("div", cell), role="cell", data_label=name, **extra))
        body.append(tag("tr", *cells, role="row"))
    return tag(
        "table",
        tag("caption", text(caption)),
        tag("thead", tag("tr", *head, role="row"), role="rowgroup"),
        tag("tbody", *body, role="rowgroup"),
        role="table",
    )


def pager(scene: Scene, shown: int, total: int | None, more: bool) -> Markup:
    """Return where in a list we are, and the way to its other pages; `total` may be unknown."""
    first = (scene.page - 1) * PAGE + 1
    where = f"{first:,} to {first + shown - 1:,}" + (f" of {total:,}" if total is not None else "")
    ways = []
    if scene.page > 1:
        ways.append(tag("a", text("First"), href=scene.here(page="")))
        ways.append(tag("a", text("Previous"), href=scene.here(page=str(scene.page - 1)), rel="prev"))
    if more:
        ways.append(tag("a", text("Next"), href=scene.here(page=str(scene.page + 1)), rel="next"))
        if total is not None:
            ways.append(tag("a", text("Last"), href=scene.here(page=str(-(-total // PAGE)))))
    if not ways:
        return Markup("")
    return tag("nav", tag("span", text(where)), *ways, class_="pages", aria_label="Pages of this list")


# Forms


def hidden(query: Mapping[str, str], but: Iterable[str]) -> Markup:
    """Return what a form sends along unseen, so that it changes only its own fields."""
    left_out = {*but, "page"}
    return join(
        tag("input", type="hidden", name=key, value=value)
        for key, value in query.items()
        if key not in left_out and value
    )


def field(label: str, control: Markup, name: str, grow: bool = False) -> Markup:
    return tag("div", tag("label", text(label), for_=name), control, class_="field grow" if grow else "field")


def entry(name: str, value: str, hint: str = "", **more: str) -> Markup:
    """Return an input for text that is sent back as it was."""
    return tag("input", type="text", id=name, name=name, value=value, placeholder=hint, autocomplete="off", **more)


def choice(name: str, chosen: str, options: Iterable[tuple[str, str]]) -> Markup:
    """Return a choice of one of several values with their labels."""
    listed = [
        tag("option", text(clip(label, 60)), value=value, **({"selected": ""} if value == chosen else {}))
        for value, label in options
    ]
    return tag("select", *listed, id=name, name=name)


def search_form(scene: Scene, *fields: Markup, names: Iterable[str]) -> Markup:
    button = tag("button", text("Show"), type="submit")
    unseen = hidden(scene.query, names)
    return tag("form", unseen, *fields, button, method="get", action=_path(scene), class_="bar", role="search")


def _path(scene: Scene) -> str:
    return quote(scene.path, safe="/")


# The frame


def frame(scene: Scene, page: Page) -> str:
    """Return a whole document around a page."""
    about = Markup(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">'
    )
    title = f"{clip(page.title, 90)} \u00b7 Push API emulator"
    head = tag("head", about, tag("title", text(title)), tag("style", Markup(STYLE)))
    body = tag(
        "body",
        tag("a", text("Skip to content"), class_="skip", href="#content"),
        tag("header", tag("div", _top(scene, page), class_="band"), _viewing(scene)),
        tag("main", _trail(page), page.main, id="content", class_="in", tabindex="-1"),
        _footer(scene),
    )
    return "<!doctype html>" + tag("html", head, body, lang="en")


def _top(scene: Scene, page: Page) -> Markup:
    sections = [("overview", "Overview", scene.url())]
    several = len(scene.engine.options.organizations) > 1
    for name in scene.engine.options.organizations:
        label = f"Requests of {clip(name, 40)}" if several else "Requests"
        sections.append((f"requests-{name}", label, scene.url("browse", name, "requests")))
    links = []
    for name, label, target in sections:
        current = {"aria_current": "page"} if page.here == name else {}
        links.append(tag("li", tag("a", text(label), href=target, **current)))
    home = tag("a", text("Push API emulator"), class_="name", href=scene.url())
    return tag("div", home, tag("nav", tag("ul", *links), aria_label="Sections"), class_="in top")


def _viewing(scene: Scene) -> Markup:
    """Return the bar that chooses the identity which all pages are looked at as."""
    viewer = scene.viewer
    providers = [provider.id for _, provider in scene.engine.providers(scene.organization)]
    chosen = viewer.provider if viewer else ""
    if chosen and chosen not in providers:
        providers.append(chosen)
    suggested = [
        f"{KINDS[who.type]}:{scene.roll.name(who)}"
        for provider in providers
        for who in scene.roll.of(provider)[:_SUGGESTED]
        if who.type == "USER" and is_plain(scene.roll.name(who))
    ][:_SUGGESTED]
    options = [tag("option", value=value) for value in dict.fromkeys((ANONYMOUS, *suggested))]
    said = viewer.query["as"] if viewer else ""
    info = viewer.query.get("as-info", "") if viewer else ""
    parts = [
        hidden({**scene.query, "as-info": ""}, _VIEWING),
        field("View as", entry("as", said, "user:alice@example.com", list="people"), "as", grow=True),
        tag("datalist", *options, id="people"),
        field(
            "Its provider",
            choice("as-provider", chosen, [("", "any that knows it"), *((name, name) for name in providers)]),
            "as-provider",
        ),
        tag("button", text("View"), type="submit"),
    ]
    if info:
        parts.insert(0, tag("input", type="hidden", name="as-info", value=info))
    if viewer:
        everything = scene.here(**{**dict.fromkeys(_VIEWING, ""), "page": "", "show": ""})
        name = text("somebody who did not log in")
        if scene.watching is not None:
            spelled = None if scene.roll.knows(scene.watching) else viewer.name
            name = scene.identity_link(scene.watching, spelled)
        seen = Markup(text("Viewing as ") + name + text(". "))
        parts.append(tag("p", seen, tag("a", text("View everything"), href=everything)))
    form = tag("form", *parts, method="get", action=_path(scene), class_="in as")
    return tag("div", form, class_="band on" if viewer else "band", role="region", aria_label="View as an identity")


def _trail(page: Page) -> Markup:
    if not page.trail:
        return Markup("")
    steps = [tag("li", tag("a", isolated(clip(name, 80)), href=target)) for name, target in page.trail]
    return tag("nav", tag("ol", *steps, class_="trail small"), aria_label="Above this page")


def _footer(scene: Scene) -> Markup:
    now = moment(scene.engine.clock.now())
    waiting = count(scene.engine.database.pending(), "operation")
    words = Markup(text("The emulator's time is ") + now + text(f" UTC; {waiting} waiting to be processed."))
    return tag("footer", tag("div", words, class_="in"))
