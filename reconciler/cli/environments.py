"""Two environments of a project, read side by side: what is which, what differs, and who sees what in one alone.

Reads the project's files and nothing else: no state is opened, no cache written, no remote asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.problems import ManifestError, Problem, errors_in

if TYPE_CHECKING:
    from reconciler.cli.worlds import World
    from reconciler.manifest.load import Loaded
    from reconciler.manifest.paths import ProjectFolder
    from reconciler.manifest.project import Project, Provider, Source

_ITEM = "item/"


@dataclass(frozen=True, slots=True)
class Pair:
    """An address that two environments share or that one entry gives both, and the resource in each, None in neither.

    `address` is the one in the second environment where there is one, `former` the one in the first.
    """

    address: str
    former: str
    before: Resource | None
    after: Resource | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a second environment differs from a first.

    `settings` are (what, name, first's value, second's value). `pairs` differ for another reason than their
    variables, sorted by address. `varying` are the addresses in both, first's and second's, of what differs by
    variables alone; `equal` counts the others. `exposure` is the document of who sees what in the second and not in
    the first (gained), and the other way (lost). `unsplit` says why variables could not be told apart from the rest,
    or nothing.
    """

    settings: tuple[tuple[str, str, str, str], ...]
    pairs: tuple[Pair, ...]
    varying: tuple[tuple[str, str], ...]
    equal: int
    exposure: dict[str, Any]
    unsplit: str = ""

    @property
    def differs(self) -> bool:
        """Whether more differs than what the environments are called and what variables put into texts."""
        settings = any(what != "variable" for what, *_ in self.settings)
        return bool(settings or self.pairs or self.exposure["gained"] or self.exposure["lost"])


def compare_environments(folder: ProjectFolder, file: str, first: str, second: str, *, as_of: int) -> Comparison:
    """Return how environment `second` differs from `first`, both read as of an instant (seconds since 1970).

    Items are the same that the same entry makes, however variables spell their uris. Raises UsageError for an unknown
    environment, ManifestError with all problems of what either reads.
    """
    from reconciler.manifest.opening import read_project

    projects = [read_project(folder, file, name) for name in (first, second)]
    before, after = (_load(project, folder, file, as_of) for project in projects)
    names = _same_entries(before, after)
    unsplit = ""
    alike: Mapping[str, bytes] = {names.get(at, at): value for at, value in before.desired.fingerprints.items()}
    origin = {new: old for old, new in names.items()}
    source, spelled = before, origin
    if projects[0].variables != projects[1].variables:
        variables = tuple(sorted({**dict(projects[0].variables), **dict(projects[1].variables)}.items()))
        try:
            source, spelled = _load(replace(projects[0], variables=variables), folder, file, as_of), {}
            alike = source.desired.fingerprints
            # What only the first has is called there as its own variables have it, too.
            origin = {new: old for old, new in before.entries_beside(source) if old != new} | origin
        except ManifestError as error:
            unsplit = error.problems[0].what
    there = after.desired.fingerprints
    differing = sorted(at for at in alike.keys() | there.keys() if alike.get(at) != there.get(at))
    olds = source.resources(spelled.get(at, at) for at in differing)
    news = after.resources(differing)
    pairs = tuple(
        Pair(at, origin.get(at, at), _called(olds.get(spelled.get(at, at)), at), news.get(at)) for at in differing
    )
    changed = set(differing)
    own = before.desired.fingerprints
    varying = tuple(
        (origin.get(at, at), at)
        for at in sorted(there)
        if at not in changed and (at in origin or own.get(at) != there[at])
    )
    return Comparison(
        settings=tuple(_settings(*projects)),
        pairs=pairs,
        varying=varying,
        equal=len(there.keys() - changed) - len(varying),
        exposure=_exposure(projects, before, after, names),
        unsplit=unsplit,
    )


def _load(project: Project, folder: ProjectFolder, file: str, as_of: int) -> Loaded:
    from reconciler.manifest.cache import ManifestCache
    from reconciler.manifest.load import load_manifests

    # Not through the cache: it holds what one environment means, and the other would push that out.
    loaded = load_manifests(project, folder, file, recorded=None, cache=ManifestCache(None, ""), as_of=as_of)
    if errors_in(loaded.problems):
        named = f"environment {project.environment.name}"
        problems = [_of(problem, named) for problem in loaded.problems]
        error = ManifestError(*problems)
        error.folder = str(folder.root)
        raise error
    return loaded


def _of(problem: Problem, environment: str) -> Problem:
    """Return a problem that says of which environment it is, where no position in a file does."""
    return problem if problem.position or problem.where else replace(problem, where=environment)


def _called(resource: Resource | None, address: str) -> Resource | None:
    return None if resource is None else replace(resource, address=Address(address))


def _same_entries(before: Loaded, after: Loaded) -> dict[str, str]:
    """Return the addresses of `before` that variables spell otherwise in `after`, where the same entry gives them.

    An entry that gives several resources counts where it found the same files on both sides.
    """
    here, there = before.desired.fingerprints, after.desired.fingerprints
    return {
        old: new
        for old, new in before.entries_beside(after)
        if old != new and old in here and new in there and old not in there and new not in here
    }


# -- settings --------------------------------------------------------------------------------------


def _settings(before: Project, after: Project) -> Iterator[tuple[str, str, str, str]]:
    """Yield the settings that manifests or access depend on; what the organization calls things is none."""
    old, new = dict(before.variables), dict(after.variables)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield "variable", name, old.get(name, ""), new.get(name, "")
    for source in before.sources:
        other = after.source(source.name)
        if other is not None:
            yield from _told("source", source.name, _of_source(source), _of_source(other))
    for provider in before.providers:
        counterpart = after.provider(provider.name)
        if counterpart is not None:
            yield from _told("provider", provider.name, _of_provider(provider), _of_provider(counterpart))


def _of_source(source: Source) -> dict[str, str]:
    return {"visibility": source.visibility, "kind": source.kind, "exclusive": _flag(source.exclusive)}


def _of_provider(provider: Provider) -> dict[str, str]:
    return {
        "cascadesTo": ", ".join(provider.cascades_to),
        "exclusive": _flag(provider.exclusive),
        "caseSensitive": _flag(provider.case_sensitive),
    }


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _told(what: str, name: str, old: dict[str, str], new: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    for key, value in old.items():
        if value != new[key]:
            yield what, f"{name}.{key}", value, new[key]


# -- access ----------------------------------------------------------------------------------------


def _exposure(projects: list[Project], before: Loaded, after: Loaded, names: Mapping[str, str]) -> dict[str, Any]:
    from reconciler.cli.worlds import comparable, expose_change, loaded_world
    from reconciler.rendering.exposuredoc import EXAMPLES, exposure_document

    first, second = (loaded_world(project, loaded) for project, loaded in zip(projects, (before, after), strict=True))
    moved = {old: new for old, new in names.items() if old.startswith(_ITEM)}
    start, end = comparable(_renamed(first, moved) if moved else first, second)
    found = expose_change(start, end, examples=EXAMPLES)
    return exposure_document(found, start.relation.names)


def _renamed(world: World, moved: Mapping[str, str]) -> World:
    """Return the world with its items called as in the other environment, so that they are the same ones."""
    from reconciler.cli.worlds import make_world

    former = {new: old for old, new in moved.items()}
    addresses = {moved.get(at, at): value for at, value in world.addresses.items()}

    def resources(wanted: Iterable[str]) -> Mapping[str, Resource]:
        asked = {former.get(at, at): at for at in wanted}
        found = world.resources(asked)
        return {asked[at]: replace(resource, address=Address(asked[at])) for at, resource in found.items()}

    return make_world(world.relation.readings, world.visibility, addresses, resources)
