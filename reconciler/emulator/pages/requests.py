"""The pages of the request log and of one request. Keys and signatures are not shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

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
    isolated,
    lines,
    moment,
    pager,
    search_form,
    section,
    size,
    soft,
    table,
)
from reconciler.emulator.requestlog import RequestEntry

PARSED_BYTES = 2 * 1024 * 1024
"""JSON up to this size is laid out; of more, the beginning is shown as it came."""
SHOWN_CHARACTERS = 64 * 1024
HIDDEN = "(not shown)"
_SECRET = re.compile(r"x-amz-|token|secret|signature|password|credential|authorization|api[-_]?key", re.IGNORECASE)
_CLASSES = (("", "any"), ("2", "2xx accepted"), ("3", "3xx"), ("4", "4xx refused"), ("5", "5xx failed"))
_ENTRIES = 10


def requests_page(scene: Scene) -> Page:
    """Return the request log of an organization, newest first, a page at a time."""
    status, part = scene.query.get("status", ""), scene.query.get("path", "").strip()
    found = [
        asked
        for asked in _of_organization(scene)
        if (not status or str(asked.status).startswith(status)) and part.casefold() in asked.path.casefold()
    ]
    start = (scene.page - 1) * PAGE
    shown = found[start : start + PAGE]
    fields = [
        field("Path holds", entry("path", part, "documents/batch"), "path", grow=True),
        field("Status", choice("status", status, _CLASSES), "status"),
    ]
    parts = [
        tag("h1", text("Requests")),
        tag("p", text(f"What was sent to {clip(scene.organization)} and is still kept, newest first."), class_="soft"),
        search_form(scene, *fields, names=("status", "path")),
    ]
    if shown:
        caption = count(len(found), "request")
        rows = [_row(scene, asked) for asked in shown]
        parts.append(table(caption, ("Path", "Method", "Status", "Body", "Number", "Time"), rows))
        parts.append(pager(scene, len(shown), len(found), len(found) > start + PAGE))
    elif found:
        parts.append(
            tag("p", text("The list ends before this page. "), tag("a", text("First page"), href=scene.here(page="")))
        )
    else:
        parts.append(tag("p", text("No request is like that." if status or part else "No request has come yet.")))
    trail = (("Overview", scene.url()),)
    return Page("Requests", Markup("".join(parts)), trail, f"requests-{scene.organization}")


def _of_organization(scene: Scene) -> Iterator[RequestEntry]:
    """Yield the requests of the organization, newest first, and those that name none there is."""
    known = scene.engine.options.organizations
    for asked in reversed(scene.engine.requests.entries()):
        named = _organization(asked)
        if named == scene.organization or named not in known:
            yield asked


def _organization(asked: RequestEntry) -> str:
    segments = asked.path.split("/")
    for before in ("organizations", "_storage"):
        if before in segments[:-1]:
            return segments[segments.index(before) + 1]
    return next((value for key, value in asked.query if key == "organizationId"), "")


def _row(scene: Scene, asked: RequestEntry) -> list[Markup]:
    pairs = [(key, value) for key, value in shown_query(scene, asked) if not key.lower().startswith("x-amz-")]
    query = ", ".join(f"{key}={clip(value, 160)}" for key, value in pairs)
    label = tag("code", text(clip(without_keys(scene, _short(scene, asked.path)), 160)))
    path = scene.link(label, "requests", str(asked.number))
    if query:
        path = Markup(path + tag("span", isolated(clip(query, 400)), class_="sub small"))
    return [
        path,
        tag("code", text(clip(asked.method, 20))),
        _status(asked),
        tag("span", text(size(asked.size)), class_="w") if asked.size else soft("none"),
        text(f"{asked.number:,}"),
        moment(asked.at),
    ]


def _short(scene: Scene, path: str) -> str:
    """Return a path without what all calls of the organization begin with."""
    before, organization, rest = path.partition(f"/organizations/{scene.organization}/")
    return rest if organization and before in ("/push/v1", "/v1") else path


def _status(asked: RequestEntry) -> Markup:
    kind = "yes" if asked.status < 400 else "no" if asked.status < 500 else "warn"
    shown = badge(str(asked.status) if asked.status else "dropped", kind if asked.status else "warn")
    parts = [shown]
    if asked.error:
        parts.append(tag("span", text(clip(asked.error, 80)), class_="small soft"))
    if asked.fault:
        parts.append(badge("fault", "info"))
    return join(parts, " ")


def shown_query(scene: Scene, asked: RequestEntry) -> list[tuple[str, str]]:
    """Return the query of a request without what lets somebody in."""
    return [
        (without_keys(scene, key), HIDDEN if _SECRET.search(key) else without_keys(scene, value))
        for key, value in asked.query
    ]


def without_keys(scene: Scene, shown: str) -> str:
    """Return a text without the keys of this emulator, wherever somebody put one."""
    options = scene.engine.options
    for key in (options.api_key, *options.keys):
        if key:
            shown = shown.replace(key, HIDDEN)
    return shown


def request_page(scene: Scene, number: str) -> Page:
    """Return one request with what it carried."""
    wanted = int(number) if number.isascii() and number.isdigit() and len(number) < 16 else 0
    asked = next((asked for asked in _of_organization(scene) if asked.number == wanted), None)
    if asked is None:
        raise NoSuchPage(f"No request {clip(number, 40)} of this organization is kept. The oldest ones are forgotten.")
    query, path = shown_query(scene, asked), without_keys(scene, asked.path)
    pairs = [("Status", _status(asked)), ("Time", moment(asked.at)), ("Body", text(size(asked.size)))]
    if asked.fault:
        pairs.append(("Fault on demand", isolated(clip(asked.fault))))
    parts = [
        tag("h1", text(f"Request {asked.number:,}")),
        tag(
            "p",
            tag("code", text(f"{clip(asked.method, 20)} {clip(path, 2000)}")),
            class_="wide",
        ),
        facts(pairs, "facts"),
    ]
    if query:
        values = ((clip(key, 120), tag("code", text(clip(value, 2000)))) for key, value in query)
        parts.append(section("Query", facts(values)))
    parts += [_touched(scene, asked), *_carried(scene, "Body", asked.body, asked.size)]
    if asked.container is not None:
        parts += _carried(scene, "File container", asked.container, len(asked.container))
    above = scene.browse("requests")
    trail = (("Overview", scene.url()), ("Requests", above))
    return Page(f"Request {asked.number}", Markup("".join(parts)), trail, f"requests-{scene.organization}")


def _carried(scene: Scene, heading: str, raw: bytes | None, whole: int) -> list[Markup]:
    if raw is None:
        words = "It is no longer kept." if whole else "It came without one."
        return [section(heading, tag("p", soft(words)))]
    if not raw.strip():
        return [section(heading, tag("p", soft("It is empty.")))]
    laid_out, note = _laid_out(raw)
    shown = without_keys(scene, laid_out)
    if len(shown) > SHOWN_CHARACTERS:
        shown, note = shown[:SHOWN_CHARACTERS], f"{note} The first {SHOWN_CHARACTERS:,} characters are shown."
    return [section(heading, tag("p", text(note.strip()), class_="soft small"), tag("pre", text(shown), tabindex="0"))]


def _laid_out(raw: bytes) -> tuple[str, str]:
    """Return JSON with line breaks and indents, and a note on how it came."""
    said = f"{len(raw):,} bytes."
    if len(raw) > PARSED_BYTES:
        return raw[: SHOWN_CHARACTERS * 4].decode("utf-8", "replace"), f"{said} Too much to be laid out, so as it came."
    try:
        return orjson.dumps(orjson.loads(raw), option=orjson.OPT_INDENT_2).decode(), f"{said} JSON, laid out."
    except (ValueError, TypeError):
        return raw[: SHOWN_CHARACTERS * 4].decode("utf-8", "replace"), f"{said} Not JSON."


def _touched(scene: Scene, asked: RequestEntry) -> Markup:
    """Return links to the items that a request wrote or deleted, as far as they are there."""
    match = re.search(r"/sources/([^/]+)/", asked.path)
    found = scene.engine.source(scene.organization, match.group(1)) if match else None
    if found is None:
        return Markup("")
    place, source = found
    named = [value for key, value in asked.query if key == "documentId"][:1]
    raw = asked.container
    total = len(named)
    if raw is not None and len(raw) <= PARSED_BYTES:
        listed = list(_named_in(raw))
        named, total = listed[:_ENTRIES], len(listed)
    if not named:
        return Markup("")
    known = scene.engine.items.orderings(place, named)[0]
    links = [scene.item_link(source.id, uri) if uri in known else tag("code", text(clip(uri))) for uri in named]
    if total > len(named):
        links.append(soft(f"and {total - len(named):,} more"))
    return section("Items", lines(links))


def _named_in(raw: bytes) -> Iterator[str]:
    """Yield the uris that a batch names."""
    for keys in _entries_of(raw, ("addorupdate", "delete")):
        if isinstance(keys.get("documentid"), str):
            yield keys["documentid"]


def _entries_of(raw: bytes, lists: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the entries of a batch with their keys in lower case, as they come in any (push-api.md 3.1)."""
    try:
        batch: Any = orjson.loads(raw)
    except ValueError:
        return
    for key, entries in batch.items() if isinstance(batch, dict) else ():
        if key.lower() in lists and isinstance(entries, list):
            for found in entries:
                if isinstance(found, dict):
                    yield {name.lower(): value for name, value in found.items()}


def last_writing(scene: Scene, source: str, uri: str) -> RequestEntry | None:
    """Return the last accepted request for an item that is still kept.

    It need not be the one that was indexed: the pipeline may have refused it later.
    """
    place = f"/organizations/{scene.organization}/sources/{source}/"
    escaped = (orjson.dumps(uri), json.dumps(uri).encode())
    for asked in reversed(scene.engine.requests.entries()):
        if asked.method != "PUT" or asked.status != 202:
            continue
        query = dict(asked.query)
        if asked.path.endswith(f"{place}documents") and query.get("documentId") == uri:
            return asked
        raw = asked.container
        if (
            raw is not None
            and place in asked.path
            and len(raw) <= PARSED_BYTES
            and any(name in raw for name in escaped)
        ):
            for keys in _entries_of(raw, ("addorupdate",)):
                if keys.get("documentid") == uri:
                    return asked
    return None
