"""The pages of a source and of one of its items."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from reconciler.emulator.items import Item
from reconciler.emulator.options import SourceOptions
from reconciler.emulator.pages import model as page_model
from reconciler.emulator.pages.fields import mapping_section
from reconciler.emulator.pages.listing import LogEntry, Wanted, remembering
from reconciler.emulator.pages.markup import Markup, tag, text
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
    result_tag,
    search_form,
    section,
    size,
    soft,
    table,
)
from reconciler.emulator.pages.requests import last_writing
from reconciler.emulator.views import raw_fields

COUNTED = 20_000
"""In a source of up to this many items, all are judged to say how many of them somebody sees."""
PREVIEW_BYTES = 8192
HEX_BYTES = 256
_RELATED = 20
_LOGGED = 20
_VALUE = 2000
_TIMES = ("date", "indexeddate")
_LAST_TIME = 253_402_300_800_000
_CONTENT_KEYS = {
    "data": "data",
    "compressedbinarydata": "compressedBinaryData",
    "compressedbinarydatafileid": "compressedBinaryDataFileId",
}
_MAGIC = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "ZIP, or a document made of one"),
    (b"\x89PNG\r\n\x1a\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF8", "GIF image"),
    (b"\x1f\x8b", "gzip"),
    (b"\xd0\xcf\x11\xe0", "older Office document"),
)


def find_source(scene: Scene, name: str) -> tuple[int, SourceOptions]:
    found = scene.engine.source(scene.organization, name)
    if found is None:
        raise NoSuchPage(f"The organization has no source '{clip(name)}'.")
    scene.home = found[1].provider or scene.home
    return found


def visible(scene: Scene, place: int, source: SourceOptions) -> str:
    """Return how many items of a source the viewer sees, or that they are too many to judge all."""
    if scene.engine.items.count(place) > COUNTED:
        return "not counted"
    sees = remembering(partial(scene.sees_model, source=source))
    return f"{scene.listing.count(Wanted(place, sees=sees)):,}"


# A source


def source_page(scene: Scene, name: str) -> Page:
    """Return the items of a source, a page at a time; with a viewer, those that the viewer sees."""
    place, source = find_source(scene, name)
    words, show = scene.query.get("q", "").strip(), scene.query.get("show", "")
    sees = remembering(partial(scene.sees_model, source=source))
    wanted = Wanted(place, words, sees if scene.viewer and show != "all" else None)
    whole = scene.engine.items.count(place)
    total = None if wanted.sees and whole > COUNTED else scene.listing.count(wanted)
    found = scene.listing.items(wanted, PAGE + 1, (scene.page - 1) * PAGE)
    fields = [field("Uri or title holds", entry("q", words), "q", grow=True)]
    if scene.viewer:
        options = (("", "what they see"), ("all", "everything, marked"))
        fields.append(field("Items", choice("show", show, options), "show"))
    parts = [
        tag("h1", tag("code", text(clip(source.id)))),
        _source_facts(scene, place, source, whole),
        search_form(scene, *fields, names=("q", "show")),
        _items(scene, source, found, total),
        mapping_section(scene, place),
        _failures(scene, place),
    ]
    return Page(source.id, Markup("".join(parts)), (("Overview", scene.url()),))


def _source_facts(scene: Scene, place: int, source: SourceOptions, whole: int) -> Markup:
    provider = soft("none")
    if source.provider:
        provider = scene.link(isolated(clip(source.provider)), "providers", source.provider)
    pairs = [
        ("Items", text(f"{whole:,}")),
        ("Kind", text(source.kind)),
        ("Visibility", text(source.visibility.lower())),
        ("Identities from", provider),
        ("Status", text(scene.engine.database.status(place).lower())),
        ("Waiting", text(f"{scene.listing.waiting(place):,}")),
    ]
    watermark = scene.engine.database.watermark(place)
    if watermark:
        pairs.append(("Older pushes refused below", text(int(watermark))))
    return facts(pairs, "facts")


def _items(scene: Scene, source: SourceOptions, found: list[Item], total: int | None) -> Markup:
    shown, more = found[:PAGE], len(found) > PAGE
    if not shown:
        if scene.page > 1:
            return tag(
                "p", text("The list ends before this page. "), tag("a", text("First page"), href=scene.here(page=""))
            )
        asked = scene.query.get("q") or scene.viewer
        return tag("p", text("No item is like that." if asked else "Nothing was pushed to this source yet."))
    caption = count(total, "item") if total is not None else "Items; how many there are is not counted"
    if scene.viewer and scene.query.get("show") != "all":
        caption += " that they see"
    columns = ["Item", "Permissions", "Content", "Pushed"]
    marked = bool(scene.viewer and scene.query.get("show") == "all")
    if marked:
        columns.insert(1, "Seen")
    rows = [_item_row(scene, source, item, marked) for item in shown]
    return Markup(table(caption + ", by uri", columns, rows) + pager(scene, len(shown), total, more))


def _item_row(scene: Scene, source: SourceOptions, item: Item, marked: bool) -> list[Markup]:
    title = tag("bdi", text(clip(item.title or last_part(item.uri), 120)), class_="title")
    uri = tag("code", text(clip(item.uri)), class_="sub")
    row = [
        Markup(scene.item_link(source.id, item.uri, title) + uri),
        page_model.summary(scene, item, source),
        soft("none") if item.body_key is None else tag("span", text(size(item.body_size)), class_="w"),
        moment(item.pushed),
    ]
    if marked:
        row.insert(1, badge("seen", "yes") if scene.sees(item, source) else badge("hidden", "no"))
    return row


def last_part(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2] or uri


def _failures(scene: Scene, place: int) -> Markup:
    entries = scene.listing.log([place], _LOGGED, failed=True)
    if not entries:
        return Markup("")
    return section("Not indexed", log_table(scene, entries, "The last operations that were not completed"))


def log_table(scene: Scene, entries: list[LogEntry], caption: str, item: bool = True) -> Markup:
    """Return log entries; those of a source link to the item that they are about."""
    names = {place: source.id for place, source in scene.engine.sources(scene.organization)}
    columns = ["Item"] if item else []
    rows = []
    for found in entries:
        row = []
        if item:
            source = names.get(found.place)
            known = source and scene.engine.items.orderings(found.place, [found.uri])[0]
            about = scene.item_link(source, found.uri) if source and known else tag("code", text(clip(found.uri)))
            row.append(about if found.uri else soft("a batch"))
        operation = found.operation.lower().replace("_", " ")
        row += [text(operation), result_tag(found.result), isolated(clip(found.why, 400)), moment(found.at)]
        rows.append(row)
    return table(caption, [*columns, "Operation", "Result", "Why", "Time"], rows)


# An item


def item_page(scene: Scene, name: str) -> Page:
    """Return everything that is known of one item."""
    place, source = find_source(scene, name)
    uri = scene.query.get("uri", "")
    item = scene.engine.items.one([place], uri) if uri else None
    if item is None:
        raise NoSuchPage(f"The source '{clip(name)}' has no item '{clip(uri)}'. It may have been deleted.")
    title = item.title or last_part(item.uri)
    parts = [
        tag("h1", tag("span", text(clip(title, 300)), dir="auto")),
        tag("p", tag("code", text(item.uri if len(item.uri) < _VALUE else clip(item.uri, _VALUE))), class_="soft wide"),
        page_model.verdict(scene, item, source),
        _item_facts(scene, item, source),
        page_model.drawn(scene, item, source),
        page_model.people(scene, item, source),
        _fields(item, source),
        _content(scene, item),
        _relations(scene, item, source),
        _log(scene, item),
    ]
    trail = (("Overview", scene.url()), (source.id, scene.browse("sources", source.id)))
    return Page(title, Markup("".join(parts)), trail)


def _item_facts(scene: Scene, item: Item, source: SourceOptions) -> Markup:
    pairs = [
        ("Content", text("none" if item.body_key is None else size(item.body_size))),
        ("File extension", text(clip(item.extension, 40)) if item.extension else soft("none")),
        ("Pushed", moment(item.pushed)),
        ("Ordering id", text(int(item.ordering))),
    ]
    if (request := last_writing(scene, source.id, item.uri)) is not None:
        link = scene.link(text(f"number {request.number:,}"), "requests", str(request.number))
        pairs.append(("Last request for it", link))
    return facts(pairs, "facts")


def _fields(item: Item, source: SourceOptions) -> Markup:
    raw = raw_fields(item, source)
    metadata = item.metadata_values()
    rows = []
    for key in sorted(raw):
        pushed = key in metadata
        origin = badge("pushed", "info") if pushed else badge("added")
        value = _value(raw[key])
        if key in _TIMES and isinstance(raw[key], int) and 0 <= raw[key] < _LAST_TIME:
            value = Markup(value + " " + tag("span", moment(raw[key] / 1000), class_="soft"))
        rows.append((tag("code", text(clip(key))), value, origin))
    lost = [key for key in metadata if key not in raw and key.lower() not in raw]
    parts = [table(f"{count(len(rows), 'field')}, by name", ("Field", "Value", "From"), rows)]
    if lost:
        parts.append(tag("p", text("Metadata that no field of its name took:")))
        parts.append(facts((clip(key, 120), _value(metadata[key])) for key in sorted(lost)))
    return section("Fields", *parts)


def _value(value: Any) -> Markup:
    if isinstance(value, list):
        return lines(
            [_value(part) for part in value[:50]] + ([soft(f"and {len(value) - 50:,} more")] * (len(value) > 50))
        )
    if isinstance(value, str):
        return tag("bdi", text(clip(value, _VALUE))) if value else soft("empty text")
    return tag("code", text(clip(json.dumps(value, ensure_ascii=False), _VALUE)))


def _content(scene: Scene, item: Item) -> Markup:
    if item.body_key is None:
        return section("Content", tag("p", text("The item was pushed without content.")))
    head = scene.listing.head(item, PREVIEW_BYTES)
    pairs = [
        ("Came as", tag("code", text(_CONTENT_KEYS.get(item.body_key, item.body_key)))),
        *([("Compression", tag("code", text(item.compression)))] if item.compression else []),
        ("Size", text(f"{item.body_size:,} bytes" + (", decompressed" if item.body_key != "data" else ""))),
        ("SHA-256", tag("code", text(item.body_sha256))),
    ]
    if head is None:
        note = "It is too large to be kept; this is how it begins."
        return section("Content", facts(pairs), tag("p", text(note)), _source_text(item.preview))
    shown = readable(head)
    if shown is None:
        pairs.append(("Type", text(_type(head))))
        dump = tag("pre", text(hexadecimal(head[:HEX_BYTES])), class_="hex", tabindex="0")
        return section("Content", facts(pairs), tag("p", text(f"The first {min(len(head), HEX_BYTES)} bytes:")), dump)
    parts = [facts(pairs)]
    if item.body_size > len(head):
        parts.append(tag("p", text(f"The first {len(head):,} bytes, as text:")))
    return section("Content", *parts, _source_text(shown) if shown else tag("p", soft("It is empty.")))


def _source_text(shown: str) -> Markup:
    return tag("pre", text(shown), tabindex="0")


def readable(head: bytes) -> str | None:
    """Return the beginning of a content as text, None when it is not text in UTF-8."""
    for cut in range(4):
        try:
            shown = head[: len(head) - cut].decode()
            break
        except UnicodeDecodeError:
            continue
    else:
        return None
    controls = sum(character < " " and character not in "\t\n\r\f" for character in shown)
    return None if controls else shown


def _type(head: bytes) -> str:
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "not text, and nothing known")


def hexadecimal(head: bytes) -> str:
    """Return bytes as offset, sixteen at a time, and what of them are ASCII characters."""
    rows = []
    for at in range(0, len(head), 16):
        part = head[at : at + 16]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        rows.append(f"{at:06x}  {part.hex(' '):<47}  {seen}")
    return "\n".join(rows)


def _relations(scene: Scene, item: Item, source: SourceOptions) -> Markup:
    children, total = scene.listing.children(item.place, item.uri, _RELATED)
    if not item.parent and not children:
        return Markup("")
    pairs = []
    if item.parent:
        known = scene.engine.items.one([item.place], item.parent)
        parent = tag("code", text(clip(item.parent)))
        pairs.append(
            ("Parent", scene.item_link(source.id, item.parent) if known else Markup(parent + soft(" not here")))
        )
    if children:
        links = [scene.item_link(source.id, child) for child in children]
        if total > len(children):
            links.append(soft(f"and {total - len(children):,} more"))
        pairs.append((count(total, "child", "children").capitalize(), lines(links)))
    return section("Parent and children", facts(pairs))


def _log(scene: Scene, item: Item) -> Markup:
    entries = scene.listing.log([item.place], _LOGGED, uri=item.uri)
    pairs = (
        ("Permanent id", tag("code", text(clip(item.permanentid)))),
        ("Unique id", tag("code", text(clip(item.unique_id)))),
    )
    parts = [facts(pairs)]
    if entries:
        parts.append(log_table(scene, entries, "The last operations on this item, newest first", item=False))
    return section("Index and log", *parts)
