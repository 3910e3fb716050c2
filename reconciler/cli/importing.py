"""`reconciler import`: manifests of what exists elsewhere, in Push API documents or at the remote."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler import __version__
from reconciler.cli.loudness import take_run
from reconciler.cli.options import project_options
from reconciler.logs import tell
from reconciler.problems import ManifestError, Problem, UsageError, errors_in

if TYPE_CHECKING:
    from reconciler.cli.session import Session
    from reconciler.importing.documents import Gathered
    from reconciler.importing.manifests import File
    from reconciler.manifest.load import Loaded

    Settle = Callable[[Loaded], None]

_CHUNK = 1000
_SUFFIXES = (".json", ".jsonl", ".ndjson")
_LARGEST = 256 * 1024 * 1024  # push-api.md 4.1: no container holds more.


@click.command("import")
@click.option(
    "--bodies",
    type=click.Path(exists=True, path_type=Path),
    metavar="FOLDER",
    help="Read Push API documents (JSON) of this folder, or file, instead of the remote.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Write the manifests to this folder, which lies in the project's.",
)
@click.option("--source", metavar="NAME", help="The source of items that do not say; without --bodies, what to read.")
@click.option(
    "--provider", metavar="NAME", help="The provider of identities that do not say; without --bodies, what to read."
)
@click.option(
    "--state",
    "record",
    is_flag=True,
    help="Record what the remote shows as accepted, so that the next plan has nothing to do for it.",
)
@click.option("--force", is_flag=True, help="Overwrite files that are there already.")
@project_options
def command(
    bodies: Path | None,
    out: Path,
    source: str | None,
    provider: str | None,
    record: bool,
    force: bool,
    directory: str | None,
    environment: str | None,
) -> int:
    """Write manifests of what exists: documents that were pushed, or what a live remote shows.

    All of it is written, or nothing; files that are there already stay unless --force is given. The remote shows no
    bodies: a later change of an item that was read from there is a hazard until the item has a body.

    Example:

    \b
        reconciler import --bodies dump/ --source handbook --provider corp --out manifests/imported
        reconciler import -e prod --source handbook --out manifests/live --state
    """
    from reconciler.cli.session import open_session
    from reconciler.rendering.values import count

    if bodies is not None and record:
        raise UsageError(
            Problem(
                "nothing-to-record",
                "--state goes with what the remote shows, and --bodies reads documents",
                why="that a document exists does not say that the remote took it.",
                fix="leave out one of the two.",
            )
        )
    with open_session(directory, environment, use_cache=False) as session:
        _check_names(session, source, provider)
        unpushed: set[str] = set()
        if bodies is not None:
            gathered = _read_bodies(session, bodies, source, provider)
            whence = f"{bodies.resolve().name} by `reconciler import --bodies`"
        else:
            gathered, unpushed = _read_live(session, source, provider)
            whence = f"organization {session.project.environment.organization} by `reconciler import`"
        origin = [
            f"Imported from {whence}.",
            *(() if bodies is not None else ("What the remote does not show is not here: bodies above all.",)),
            "From now on this file is the origin: change it here, and see `reconciler plan`.",
        ]
        settle = (lambda loaded: _record(session, loaded, unpushed)) if record else None
        written = _write(session, gathered, out, origin, force=force, settle=settle)
    for note, number in sorted((+gathered.notes).items()):
        tell("note", f"note: {number:,} x {note}", note=note, times=number)
    click.echo(f"Imported {_counted(gathered)} into {count(written, 'file')} of {out}.")
    return 0


def _check_names(session: Session, source: str | None, provider: str | None) -> None:
    from reconciler.problems import did_you_mean

    project = session.project
    for what, name, known in (
        ("source", source, [entry.name for entry in project.sources]),
        ("provider", provider, [entry.name for entry in project.providers]),
    ):
        if name is not None and name not in known:
            raise UsageError(
                Problem(
                    f"unknown-{what}",
                    f'the project has no {what} "{name}"',
                    why="without its id nobody knows what the manifests would speak of.",
                    fix=did_you_mean(name, known) or f"declare it under `{what}s` of reconciler.yaml.",
                )
            )


def _read_bodies(session: Session, bodies: Path, source: str | None, provider: str | None) -> Gathered:
    """Return what the documents say. Raises ManifestError with all that is not understood."""
    from reconciler.importing.documents import Documents

    project = session.project
    # With one there is no other that could be meant.
    source = source or (project.sources[0].name if len(project.sources) == 1 else None)
    provider = provider or (project.providers[0].name if len(project.providers) == 1 else None)
    documents = Documents(project, source, provider)
    for name, data in _documents(bodies):
        documents.take(name, data)
    gathered = documents.gathered
    if gathered.problems:
        raise ManifestError(*gathered.problems)
    if not gathered.items and not gathered.identities:
        raise UsageError(
            Problem(
                "nothing-to-import",
                f'"{bodies}" says of nothing that it is there',
                why="a manifest without entries would ask for nothing.",
                fix="give a folder of JSON documents; see `reconciler import --help`.",
            )
        )
    return gathered


def _read_live(session: Session, source: str | None, provider: str | None) -> tuple[Gathered, set[str]]:
    """Return what the remote shows, and the groups that it names and nobody pushed.

    Of a source the provider is read as well, for its groups are named in the items. Without either all are read.
    """
    from reconciler.cli.remoteimport import read_remote

    project = session.project
    everything = source is None and provider is None
    sources = [entry for entry in project.sources if everything or entry.name == source]
    providers = {entry.provider for entry in sources} | {provider}
    shown = read_remote(
        session, sources, [entry for entry in project.providers if everything or entry.name in providers]
    )
    if not shown.gathered.items and not shown.gathered.identities:
        raise UsageError(
            Problem(
                "nothing-to-import",
                "the remote shows nothing of what was asked for",
                why="a manifest without entries would ask for nothing.",
                fix="what was pushed a moment ago may not be indexed yet; see that the API key may see it.",
            )
        )
    return shown.gathered, shown.unpushed


def _record(session: Session, loaded: Loaded, unpushed: Collection[str]) -> None:
    """Record what was imported as accepted; what is recorded already stays as it is."""
    from reconciler.cli.identify import iso, lock_info
    from reconciler.cli.session import check_target
    from reconciler.cli.unread import IMPORTED
    from reconciler.model.digestfield import without_digest
    from reconciler.state.journal import Effect, RunInfo

    lock = lock_info(iso())
    info = RunInfo(
        id=f"{IMPORTED}{take_run()}",
        command=lock.command,
        started_at=lock.since,
        host=lock.host,
        user=lock.user,
        tool_version=__version__,
        environment=session.project.environment.name,
    )
    with session.store.lock(lock) as writer:
        check_target(session, session.store.target())
        known = session.store.fingerprints()
        new = sorted(loaded.desired.fingerprints.keys() - known.keys() - set(unpushed))
        writer.begin_run(info, session.target, lambda: str(uuid.uuid4()))
        for start in range(0, len(new), _CHUNK):
            part = loaded.resources(new[start : start + _CHUNK])
            writer.record_state_only(Effect(tuple(without_digest(part[address]) for address in sorted(part))), at=iso())
        writer.end_run(at=iso(), result="done")


def _documents(bodies: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of documents, in the order of their names. Raises UsageError for what is none."""
    single = bodies.is_file()
    paths = [bodies] if single else sorted(path for path in bodies.rglob("*") if not path.is_dir())
    for path in paths:
        name = bodies.name if single else path.relative_to(bodies).as_posix()
        if not single and any(part.startswith(".") for part in path.relative_to(bodies).parts):
            continue
        try:
            if path.suffix.lower() not in _SUFFIXES or not path.is_file():
                raise UsageError(_no_document(name, "it is no .json, .jsonl or .ndjson file"))
            if path.stat().st_size > _LARGEST:
                raise UsageError(_no_document(name, f"it has more than {_LARGEST:,} bytes, as no container has"))
            yield name, path.read_bytes()
        except OSError as error:
            raise UsageError(_no_document(name, f"it cannot be read: {error.strerror}")) from None


def _no_document(name: str, why: str) -> Problem:
    return Problem(
        "import-not-understood",
        f'"{name}" cannot be imported: {why}',
        why="whatever is left out in silence would be missing from the manifests.",
        fix="take it out of the folder.",
        where=name,
    )


# -- writing ---------------------------------------------------------------------------------------


def _write(
    session: Session, gathered: Gathered, out: Path, origin: Sequence[str], *, force: bool, settle: Settle | None
) -> int:
    """Write what was gathered, and return how many files that took."""
    from reconciler.cli.placing import place_files
    from reconciler.importing.manifests import files_of

    prefix = _prefix(session, out)
    files: Iterable[File] = files_of(gathered, prefix=prefix, origin=origin, providers=session.source_providers)
    return len(place_files(files, out, force=force, check=_checker(session, prefix, settle)))


def _prefix(session: Session, out: Path) -> str:
    """Return the path from the project's folder to a folder in it, with `/`. Raises UsageError for one outside."""
    real = out.resolve()
    if not session.folder.contains(str(real)):
        raise UsageError(
            Problem(
                "outside-project",
                f'"{out}" is outside of the project\'s folder',
                why="manifests and content files are read from there alone.",
                fix=f"choose a folder in {session.folder.root} for --out.",
            )
        )
    relative = real.relative_to(session.folder.root).as_posix()
    return "" if relative == "." else f"{relative}/"


def _checker(session: Session, prefix: str, settle: Settle | None) -> Callable[[list[str]], None]:
    """Return what holds written manifests against the language, together with the project's others.

    It raises ManifestError for what `validate` would find wrong; without that it calls `settle` with what they say.
    """

    def check(paths: list[str]) -> None:
        from reconciler.manifest.load import load_manifests

        project = session.project
        written = {f"{prefix}{path}" for path in paths if path.endswith(".yaml")}
        found = {file.path for file in session.folder.glob(project.manifests).files}
        if not written <= found:
            project = replace(project, manifests=(*project.manifests, f"{prefix}*.yaml"))
            tell(
                "note",
                f'note: no pattern under `manifests` of reconciler.yaml matches the new files; add "{prefix}*.yaml"',
            )
        loaded = load_manifests(
            project,
            session.folder,
            session.project_file,
            recorded=None if settle is None else {},
            cache=session.cache,
            as_of=session.as_of,
        )
        if errors := errors_in(loaded.problems):
            undone = Problem(
                "import-undone",
                "nothing was written: the manifests would have had the errors below",
                why="they would keep the whole project from being planned.",
                fix="mend what they come from; where items name groups, import the groups together with them.",
            )
            raised = ManifestError(undone, *errors)
            raised.folder = str(session.folder.root)
            raise raised
        if settle is not None:
            settle(loaded)

    return check


def _counted(gathered: Gathered) -> str:
    from reconciler.rendering.values import count

    sections = Counter(section for section, _, _ in gathered.identities)
    parts = [count(len(gathered.items), "item")] if gathered.items else []
    for section, word, words in (
        ("groups", "group", "groups"),
        ("virtualGroups", "virtual group", "virtual groups"),
        ("users", "user", "users"),
        ("aliases", "alias", "aliases"),
    ):
        if sections[section]:
            parts.append(count(sections[section], word, words))
    return ", ".join(parts)
