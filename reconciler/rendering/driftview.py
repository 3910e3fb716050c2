"""What `drift` found, as text and as a document: its words, and no more than that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.model.address import Kind
from reconciler.rendering.styles import paint
from reconciler.rendering.values import count, kind_count, visible
from reconciler.verifying.drift import DRIFT, Drift, DriftReport, Exactness, Foreign, Standing, Unseen

FORMAT_VERSION = "1.0"
# So many resources that stand alike, and so many names of foreign ones, are told as text; JSON tells more.
SHOWN = 50
NAMED = 5
_KINDS = (Kind.ITEM, Kind.GROUP, Kind.VIRTUAL_GROUP, Kind.USER, Kind.ALIAS)
_ORDER = (Standing.DRIFTED, Standing.MISSING, Standing.STILL_THERE, Standing.HIDDEN, Standing.PENDING)


def drift_document(report: DriftReport, *, environment: str, of: str, resent: int) -> dict[str, Any]:
    """Return the report as JSON values (`report_schema.DriftDocument`)."""
    return {
        "format_version": FORMAT_VERSION,
        "environment": environment,
        "of": of,
        "drifted": report.drifted,
        "total": report.total,
        "summary": {standing.value.replace("-", "_"): report.count(standing) for standing in Standing},
        "resources": [_resource(drift) for drift in report.drifts],
        "foreign": [
            {
                "place": entry.place,
                "name": entry.name,
                "count": entry.count,
                "examples": list(entry.examples),
                "exclusive": entry.exclusive,
                "removed": entry.removed,
                "drift": entry.is_drift,
            }
            for entry in report.foreign
        ],
        "not_visible": {
            "bodies": report.unseen.bodies,
            "metadata": report.unseen.metadata,
            "titles_and_uris": report.unseen.own,
            "parents_and_extensions": report.unseen.parents,
            "permissions": report.unseen.models,
        },
        "exactness": [
            {"source": entry.source, "field": entry.field, "items": entry.items, "exact": entry.exact}
            for entry in report.exactness
        ],
        "unhealthy": report.unseen.unhealthy,
        "indexed_again": report.unseen.reindexed,
        "notes": list(report.notes),
        "resent": resent,
    }


def _resource(drift: Drift) -> dict[str, Any]:
    return {
        "address": str(drift.address),
        "status": drift.standing.value,
        "drift": drift.standing in DRIFT,
        "what": drift.what,
        "fields": [
            {"field": entry.field, "expected": entry.expected, "shown": entry.shown, "what": entry.what}
            for entry in drift.fields
        ],
        "verified_before": not drift.unverified,
        "resend": drift.marked,
        "unapplied": drift.unapplied,
    }


def drift_text(report: DriftReport, *, of: str, resent: int, command: str, color: bool = False) -> str:
    """Return the report as text; `command` is how reconciler is called for this project."""
    blocks = [_block(report, standing, color) for standing in _ORDER]
    lines = [line for block in blocks for line in block]
    lines += [line for entry in report.foreign for line in _foreign_lines(entry, color)]
    lines += [""] * bool(lines)
    lines += [f"note: {visible(note)}" for note in report.notes]
    if report.unseen.unhealthy:
        lines.append(
            f"note: the remote cannot resolve or update {count(report.unseen.unhealthy, 'resource')} that nobody "
            f"changed; `{command} verify --all` says why"
        )
    if report.unseen.reindexed:
        lines.append(
            f"note: {count(report.unseen.reindexed, 'item')} indexed again more than an hour after the push: by a "
            "rebuild of the source, or by somebody who may have changed what nobody can see"
        )
    lines += map(_exact, report.exactness)
    lines.append(f"Not visible: {', '.join(_unseen(report.unseen)) or 'nothing of what was compared'}.")
    lines.append(_tally(report, of))
    lines += _advice(report, resent, command)
    return "\n".join(lines) + "\n"


def _block(report: DriftReport, standing: Standing, color: bool) -> Iterator[str]:
    here = [drift for drift in report.drifts if drift.standing is standing]
    for drift in here[:SHOWN]:
        style = "red" if standing in DRIFT else "yellow"
        word = paint(standing.value.replace("-", " "), style, color=color)
        remark = _remark(drift)
        yield f"{paint(visible(str(drift.address)), 'bold', color=color)}: {word}{remark}"
        if drift.what:
            yield f"    {visible(drift.what)}"
        for entry in drift.fields:
            yield f"    {visible(entry.what)}"
    if len(here) > SHOWN:
        yield f"... and {len(here) - SHOWN:,} more {standing.value.replace('-', ' ')}; --format json shows all"


def _remark(drift: Drift) -> str:
    remarks = []
    if drift.standing in DRIFT and drift.unapplied:
        remarks.append("the manifests say something else than the state, and were not applied yet")
    if drift.standing in DRIFT and drift.unverified and drift.ordering_id:
        remarks.append("nobody has ever seen it arrive")
    if drift.marked:
        remarks.append("the next plan sends it again")
    return f" ({'; '.join(remarks)})" if remarks else ""


def _foreign_lines(entry: Foreign, color: bool) -> Iterator[str]:
    nouns = ("item", "items") if entry.place == "source" else ("identity", "identities")
    if entry.removed:
        end = "that no manifest declares any more; the next apply deletes them"
    elif entry.exclusive:
        end = "that nobody asked for, though it is exclusive"
    else:
        end = "that nobody asked for; somebody else may feed it, so this is no drift"
    start = f"{entry.place} {entry.name}: {count(entry.count, *nouns)}"
    yield f"{paint(visible(start), 'red' if entry.is_drift else 'yellow', color=color)} {end}"
    for example in entry.examples[:NAMED]:
        yield f"    {visible(example)}"
    if entry.count > NAMED:
        yield f"    ... and {entry.count - NAMED:,} more"


def _exact(entry: Exactness) -> str:
    if entry.exact == entry.items:
        end = f'{count(entry.items, "item")} compared exactly, by the digest in the field "{entry.field}"'
    elif entry.exact:
        end = (
            f"{entry.exact:,} of {count(entry.items, 'item')} compared exactly, by the digest in the field "
            f'"{entry.field}"; a search cannot ask for the others'
        )
    else:
        end = (
            f'no item compared exactly: search results do not show the field "{entry.field}" as it was pushed; '
            "it takes a field of type STRING that nothing else is mapped to"
        )
    return visible(f"source {entry.source}: {end}")


def _unseen(unseen: Unseen) -> Iterator[str]:
    if unseen.bodies:
        yield count(unseen.bodies, "body", "bodies")
    if unseen.metadata:
        yield count(unseen.metadata, "metadata value")
    if unseen.own:
        yield count(unseen.own, "title or clickable uri", "titles and clickable uris")
    if unseen.parents:
        yield count(unseen.parents, "parent or file extension", "parents and file extensions")
    if unseen.models:
        yield f"permissions of {count(unseen.models, 'item')} without any of their own"


def _tally(report: DriftReport, of: str) -> str:
    kinds = ", ".join(kind_count(kind, report.checked[kind]) for kind in _KINDS if report.checked[kind])
    found = [
        f"{report.count(standing):,} {standing.value.replace('-', ' ')}"
        for standing in (Standing.DRIFTED, Standing.MISSING)
    ]
    found += [
        f"{number:,} {standing.value.replace('-', ' ')}"
        for standing in (Standing.STILL_THERE, Standing.HIDDEN, Standing.PENDING)
        if (number := report.count(standing))
    ]
    foreign = sum(entry.count for entry in report.foreign)
    found += [f"{foreign:,} foreign"] * bool(foreign)
    verdict = "Drift" if report.drifted else "No drift"
    compared = kinds or "nothing"
    return f"{verdict}: {compared} compared as {of}; {', '.join(found)}."


def _advice(report: DriftReport, resent: int, command: str) -> Iterator[str]:
    if resent:
        yield f"{count(resent, 'resource')} will be sent again by the next plan:\n    {command} plan"
    elif any(
        drift.standing in (Standing.DRIFTED, Standing.MISSING) and not (drift.marked or drift.unapplied)
        for drift in report.drifts
    ):
        yield f"To have what drifted sent again:\n    {command} drift --resend\n    {command} apply"
