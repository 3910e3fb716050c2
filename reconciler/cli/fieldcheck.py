"""Holds metadata against the organization's fields, for the commands that may speak to it.

`plan --check-fields` says what would vanish, `apply` creates what is missing where the project says
so, `verify` compares. A plain plan never comes here: this needs an API key and the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from reconciler.cli.makeplan import Planned
from reconciler.cli.session import Session
from reconciler.logs import tell
from reconciler.model.address import Kind
from reconciler.model.digestfield import digest_key
from reconciler.model.metadata import TYPED_ELSEWHERE, FieldType, join, type_of
from reconciler.planning.fields import Fields, Key, fields_to_create, problems_of, read_fields, read_rules
from reconciler.planning.plan import Plan
from reconciler.problems import Problem, RemoteError
from reconciler.rendering.values import count

if TYPE_CHECKING:
    from reconciler.manifest.load import Loaded
    from reconciler.pushapi.reader import Reader

NAMED = 20
"""How many fields are named in one line."""


def read_organization(session: Session, reader: Reader, sources: Iterable[str]) -> Fields:
    """Return the organization's fields and the mapping rules of these sources. Raises RemoteError."""
    ids = {source.name: source.id for source in session.project.sources}
    fields = read_fields(reader.fields())
    return Fields(fields, {name: read_rules(reader.mappings(ids[name])) for name in sorted(sources) if name in ids})


# -- plan ------------------------------------------------------------------------------------------


def with_field_problems(session: Session, planned: Planned, sources: Iterable[str]) -> Planned:
    """Return the plan with what the organization's fields make of the manifests' metadata.

    `sources` narrows it to these, if any. Raises RemoteError when the organization cannot be read,
    UsageError without a key.
    """
    loaded = planned.loaded or _load(session)
    chosen = set(sources)
    uses = [use for use in loaded.metadata() if not chosen or use.source in chosen]
    digested = [
        source for source in session.project.sources if source.digest_field and (not chosen or source.name in chosen)
    ]
    if digested:
        filled = {address.split("/", 2)[1] for address in loaded.desired.fingerprints if address.startswith("item/")}
        digested = [source for source in digested if source.name in filled]
    if not uses and not digested:
        return planned
    known = _read(session, {use.source for use in uses}.union(source.name for source in digested))
    create = session.project.fields == "create"
    found: list[Problem] = []
    uses = [use for use in uses if problems_of(Key(use.source, use.key, use.type), known, create=create)]
    for use, example in zip(uses, loaded.examples_of(uses), strict=True):
        for problem in problems_of(Key(use.source, use.key, use.type, example.address), known, create=create):
            found.append(problem.at(example.position, example.excerpt))
    for source in digested:
        key = Key(source.name, source.digest_field or "", FieldType.STRING)
        found += (replace(problem, where=session.project_file) for problem in problems_of(key, known, create=create))
    return replace(planned, plan=replace(planned.plan, problems=(*planned.plan.problems, *found)))


def _load(session: Session) -> Loaded:
    """Return the manifests behind a plan that was known: the cache has them too."""
    from reconciler.manifest.load import load_manifests

    return load_manifests(
        session.project,
        session.folder,
        session.project_file,
        recorded=None,
        cache=session.cache,
        as_of=session.as_of,
    )


def _read(session: Session, sources: Iterable[str]) -> Fields:
    from reconciler.cli.remote import connect

    with connect(session) as remote, remote.reader(session.target.organization) as reader:
        return read_organization(session, reader, sources)


# -- apply -----------------------------------------------------------------------------------------


def missing_fields(session: Session, plan: Plan) -> dict[str, FieldType]:
    """Return the fields that the plan's items need and the organization lacks, by name.

    Nothing unless the project says `fields: create`. The type of each takes the values of all items,
    those that the plan leaves alone as well. Raises RemoteError or UsageError.
    """
    if session.project.fields != "create":
        return {}
    keys: dict[tuple[str, str], FieldType] = {}
    for change in plan.changes:
        if change.address.kind is Kind.ITEM and change.after is not None:
            _take(keys, change.address.scope, _named(change.after.own()))
    if not keys:
        return {}
    known = _read(session, {source for source, _ in keys})
    missing = fields_to_create((Key(*place, kind) for place, kind in keys.items()), known)
    if not missing:
        return {}
    changed = {str(change.address) for change in plan.changes}
    for row in session.store.rows():
        if row.address.kind is Kind.ITEM and str(row.address) not in changed:
            metadata = _named(orjson.loads(row.doc))
            _take(keys, row.address.scope, {key: value for key, value in metadata.items() if key in missing})
    return fields_to_create((Key(*place, kind) for place, kind in keys.items()), known)


def _named(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item's metadata, with any text for its digest: its type is all that matters here."""
    metadata: dict[str, Any] = own.get("metadata", {})
    digest = digest_key(own)
    return metadata if digest is None else {**metadata, digest: ""}


def _take(keys: dict[tuple[str, str], FieldType], source: str, metadata: Mapping[str, Any]) -> None:
    for key, value in metadata.items():
        if key not in TYPED_ELSEWHERE:
            kind = type_of(value)
            keys[source, key] = join((kind, keys.get((source, key), kind)))


def told(fields: Mapping[str, FieldType]) -> str:
    """Return fields as they are named to a person: how many, and which."""
    names = [f'"{name}" ({kind})' for name, kind in list(fields.items())[:NAMED]]
    more = f" and {len(fields) - NAMED:,} more" if len(fields) > NAMED else ""
    return f"{count(len(fields), 'field')}: {', '.join(names)}{more}"


def announce_missing_fields(session: Session, plan: Plan) -> dict[str, FieldType]:
    """Return the fields to make before the plan's first item, and tell them. Raises as `missing_fields` does."""
    fields = missing_fields(session, plan)
    if fields:
        tell("fields.missing", f"before the first item, this creates {told(fields)}", fields=dict(fields))
    return fields


def make_fields(session: Session, fields: Mapping[str, FieldType]) -> None:
    """Create fields, if any, by one call. Raises RemoteError where one is still missing then."""
    if not fields:
        return
    from reconciler.cli.remote import connect
    from reconciler.pushapi.fields import create_fields

    with connect(session) as remote:
        organization, key = session.target.organization, remote.api_key.reveal()
        try:
            create_fields(
                remote.hosts, organization, key, fields, network=remote.network, pace=remote.pace, policy=remote.policy
            )
        except RemoteError as error:
            # Somebody else may have been faster, or only the answer was lost.
            with remote.reader(organization) as reader:
                known = read_fields(reader.fields())
            missing = {name: kind for name, kind in fields.items() if name not in known}
            if missing:
                raise RemoteError(_not_created(missing, error)) from None


def _not_created(missing: Mapping[str, FieldType], error: RemoteError) -> Problem:
    return Problem(
        "fields-not-created",
        f"the organization lacks {told(missing)}; creating them failed: {error}",
        why="without them metadata would be accepted and vanish, so no item was sent.",
        fix="give the API key the privilege to create fields, create them in the administration console, or write "
        "`fields: check` in reconciler.yaml to go without.",
        where=error.problems[0].where,
    )


# -- verify ----------------------------------------------------------------------------------------


def organization_for_verify(session: Session, reader: Reader, sources: Iterable[str]) -> tuple[Fields | None, str]:
    """Return the organization's fields, or None and a note why metadata is not compared."""
    wanted = set(sources)
    if session.project.fields == "ignore" or not wanted:
        digested = any(source.digest_field for source in session.project.sources if source.name in wanted)
        return None, "digests were not compared, since reconciler.yaml says `fields: ignore`" if digested else ""
    try:
        return read_organization(session, reader, wanted), ""
    except RemoteError as error:
        return None, f"the fields cannot be read, so metadata was not compared: {error}"
