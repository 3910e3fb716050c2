"""The page of an organization's fields, and the mappings that a source's page shows (push-api.md 2.6, 4.4)."""

from __future__ import annotations

from reconciler.emulator.fields import Model
from reconciler.emulator.pages.markup import Markup, tag, text
from reconciler.emulator.pages.parts import (
    PAGE,
    Page,
    Scene,
    badge,
    clip,
    count,
    entry,
    field,
    isolated,
    lines,
    pager,
    search_form,
    section,
    soft,
    table,
)

_FLAGS = {
    "facet": "facet",
    "multiValueFacet": "several values",
    "keyValue": "dictionary",
    "sort": "sortable",
    "includeInQuery": "in queries",
    "includeInResults": "in results",
}


def fields_page(scene: Scene) -> Page:
    """Return the fields of an organization by name, a page at a time."""
    words = scene.query.get("q", "").strip()
    everything = scene.engine.fields.all(scene.organization)
    found = [model for name, model in sorted(everything.items()) if words.lower() in name]
    start = (scene.page - 1) * PAGE
    shown = found[start : start + PAGE]
    heading = tag("h1", text("Fields of "), tag("bdi", text(clip(scene.organization))))
    parts = [heading, tag("p", text(_keeping(scene)))]
    parts.append(search_form(scene, field("Name holds", entry("q", words), "q", grow=True), names=("q",)))
    if shown:
        columns = ("Field", "Type", "Is", "Made by")
        parts.append(table(f"{count(len(found), 'field')}, by name", columns, list(map(_row, shown))))
        parts.append(pager(scene, len(shown), len(found), len(found) > start + PAGE))
    elif found:
        first = tag("a", text("First page"), href=scene.here(page=""))
        parts.append(tag("p", text("The list ends before this page. "), first))
    else:
        parts.append(tag("p", text("No field is called like that.")))
    return Page("Fields", Markup("".join(parts)), (("Overview", scene.url()),))


def _keeping(scene: Scene) -> str:
    if scene.engine.options.fields == "strict":
        return "Metadata is kept where a field of its name, or a mapping, takes it."
    return "Metadata is kept under its own name, whether there is such a field or not."


def _row(model: Model) -> list[Markup]:
    flags = ", ".join(label for key, label in _FLAGS.items() if model.get(key))
    origin = badge("system") if model["system"] else badge("a call", "info")
    return [
        tag("code", text(clip(str(model["name"])))),
        text(clip(str(model["type"]), 40)),
        text(flags) if flags else soft("nothing more"),
        origin,
    ]


def mapping_section(scene: Scene, place: int) -> Markup:
    """Return the mapping rules of a source, nothing where it has none."""
    mappings = scene.engine.fields.mappings(place)
    kinds = [(soft("every item"), mappings["common"]["rules"])]
    kinds += [(isolated(clip(str(kind["type"]))), kind["rules"]) for kind in mappings["types"]]
    rows = [
        [
            tag("code", text(clip(str(rule["field"])))),
            lines([tag("code", text(clip(str(statement)))) for statement in rule["content"]] or [soft("nothing")]),
            about,
        ]
        for about, rules in kinds
        for rule in rules
    ]
    if not rows:
        return Markup("")
    return section(
        "Mappings", table("The first content that is there fills the field", ("Field", "Content", "Of"), rows)
    )
