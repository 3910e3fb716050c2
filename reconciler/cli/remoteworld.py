"""Who sees what as the remote has it: what its read side shows, evaluated by our own rules.

The remote also offers effective permissions of an item (push-api.md 2.6), which are not asked: they name users it
decided about without the way that led there, and decide by a reading of the open rules (3.6) that is not told. An
answer of ours says why, compares with those about manifests and state, and says what the read side did not show.

Reads what has a say in the question: of one item its model and the identities below or above, of one person what they
are in; permissions of all items only where the question is about all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from reconciler.cli.session import Session
from reconciler.cli.worlds import World, make_world, readings_of, several_items
from reconciler.manifest.project import Source
from reconciler.model.address import Kind
from reconciler.model.identity import parse_identity
from reconciler.model.states import Resource
from reconciler.permissions.evaluate import Visibility
from reconciler.permissions.readings import is_person
from reconciler.permissions.relation import Relation
from reconciler.problems import Problem, RemoteError, Severity, UsageError
from reconciler.pushapi.reader import Document, Reader
from reconciler.rendering.values import count
from reconciler.verifying.observed import (
    Entry,
    Observed,
    ObservedModel,
    is_group,
    observed_entry,
    observed_item,
    observed_model,
    provider_name,
)

A = TypeVar("A")
B = TypeVar("B")
Tell = Callable[[str, int, int | None], None]
"""Shows what is read, how much of it is done, and of how much, where that is known."""

THREADS = 8
_CHUNK = 200
_NOT_FOUND = 404
_FORBIDDEN = 403
_VISIBILITIES: Mapping[str, Visibility] = {"SECURED": "secured", "SHARED": "shared", "PRIVATE": "private"}
# The query language cannot say these inside a value (`pushapi.reader`).
_UNSEARCHABLE = frozenset('"\\')

# What push-api.md 1.3 asks for.
_SEARCH = "Search - Execute queries, and Search - View all content"
_SOURCES = "Sources - View"
_MODELS = "Organization - View and Security cache - View"
_IDENTITIES = "Security identity providers - View or Security cache - View"


@dataclass(frozen=True, slots=True)
class _Place:
    """A source of the project as the remote has it."""

    source: Source
    display_name: str | None
    visibility: Visibility
    documents: int | None


@dataclass(slots=True)
class _Facts:
    """What was read so far."""

    identities: Observed = field(default_factory=Observed)
    items: dict[str, Resource] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    visibility: dict[str, Visibility] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)


class RemoteWorlds:
    """Reads worlds from the remote; a context manager.

    Everything raises RemoteError where the remote refuses, cannot be reached or does not know what is asked.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        project = session.project
        self._ids = {provider.name: provider.id for provider in project.providers}
        self._name = provider_name({id_: name for name, id_ in self._ids.items()})
        self._readings = readings_of(project)
        self._facts = _Facts()
        self._case: dict[str, bool] = {}
        self._stack = ExitStack()
        self._reader: Reader
        self._pool: ThreadPoolExecutor
        self._tell: Tell

    def __enter__(self) -> Self:
        from reconciler.cli.remote import connect

        with ExitStack() as stack:
            remote = stack.enter_context(connect(self._session))
            self._reader = stack.enter_context(remote.reader(self._session.project.environment.organization))
            self._tell = stack.enter_context(progress())
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="access")
            stack.callback(self._pool.shutdown, cancel_futures=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    # Worlds

    def of_item(self, uri: str, source: str | None) -> tuple[World, str]:
        """Return a world of everybody who may see the item at a uri, and the item's address."""
        place, address, model = self._one_item(uri, source)
        self._below(model)
        world = self._world()
        if world.relation.audience(address).anonymous:
            # Whoever is known sees it, so they have to be known.
            provider = place.source.provider
            self._all_of([provider] if provider else [*self._ids, self._readings.email_provider])
            world = self._world()
        return world, address

    def of_item_and_person(
        self, uri: str, source: str | None, identify: Callable[[str], str | None]
    ) -> tuple[World, str, str | None]:
        """Return a world of an item and of one person, the item's address, and the person.

        `identify` returns the canonical identity for the source of the item, None for who did not log in.
        """
        place, address, _ = self._one_item(uri, source)
        person = identify(place.source.name)
        self._above(person)
        return self._world(), address, person

    def of_person(self, person: str | None) -> World:
        """Return a world of all items of the project's sources, and of one person; None did not log in."""
        self._above(person)
        for source in self._session.project.sources:
            self._all_items(self._place(source))
        return self._world()

    def _world(self) -> World:
        """Return the world of what was read so far."""
        facts = self._facts
        case = {provider: self._case_sensitive(provider) for provider in self._providers()}
        readings = replace(
            self._readings,
            members_resolve=False,
            case_sensitive=frozenset(provider for provider, sensitive in case.items() if sensitive),
        )
        readings = replace(
            readings, unresolved=facts.identities.unresolved(readings.key, self._readings.email_provider)
        )
        resources = {str(found.address): found for found in facts.identities.resources()} | facts.items

        def at(addresses: Iterable[str]) -> Mapping[str, Resource]:
            return {address: resources[address] for address in addresses if address in resources}

        fingerprints = {address: found.fingerprint for address, found in resources.items()}
        world = make_world(readings, facts.visibility, fingerprints, at)
        doubts = [*facts.incomplete, *self._doubts(world.relation)]
        return replace(world, incomplete=tuple(dict.fromkeys(doubts)))

    def _doubts(self, relation: Relation) -> Iterator[str]:
        """Yield what the remote's own word on the health of models (push-api.md 3.6) leaves open."""
        found: dict[tuple[str, str], list[str]] = {}
        for address, state in self._facts.states.items():
            source, uri = address.split("/", 2)[1:]
            if relation.model(address) is None:
                doubt = "no permissions are shown; those of the source itself, if it has any, cannot be read"
            elif state in ("PENDING", "UNKNOWN"):
                doubt = f"the remote calls the permissions {state}: it has not worked out yet who is let in"
            elif state == "WARNING":
                doubt = "the remote calls the permissions WARNING: a denied identity is out of date"
            elif state == "IN_ERROR" and not any(entry.hides for entry in relation.unresolved(address)):
                doubt = "the remote calls the permissions IN_ERROR, so it may be that nobody is let in"
            else:
                continue
            found.setdefault((source, doubt), []).append(uri)
        for (source, doubt), uris in sorted(found.items()):
            others = f" and {count(len(uris) - 1, 'other item')}" if len(uris) > 1 else ""
            yield f"source {source}: {min(uris)}{others}: {doubt}"

    # Sources and items

    def _place(self, source: Source) -> _Place:
        with refused(_SOURCES):
            try:
                document = self._reader.source(source.id)
            except RemoteError as error:
                if status_of(error) != _NOT_FOUND or "ORGANIZATION_NOT_FOUND" in error.problems[0].what:
                    raise
                raise RemoteError(
                    replace(
                        error.problems[0],
                        code="source-unknown",
                        fix=f'check `id` of source "{source.name}", and `organization` and `region` of this '
                        "environment.",
                    )
                ) from None
        name, shown = document.get("name"), document.get("sourceVisibility")
        visibility = _VISIBILITIES.get(shown) if isinstance(shown, str) else None
        if visibility is None:
            self._facts.incomplete.append(
                f"source {source.name}: the remote does not say who may see it; taken for {source.visibility}, as the "
                "project has it"
            )
        information = document.get("information")
        documents = information.get("numberOfDocuments") if isinstance(information, dict) else None
        place = _Place(
            source,
            name if isinstance(name, str) and name else None,
            visibility or source.visibility,
            documents if isinstance(documents, int) else None,
        )
        self._facts.visibility[source.name] = place.visibility
        return place

    def _one_item(self, uri: str, wanted: str | None) -> tuple[_Place, str, ObservedModel]:
        """Find the item that is meant, in one source, and read its model."""
        project = self._session.project
        if uri.startswith(f"{Kind.ITEM.value}/") and uri.count("/") > 1 and project.source(uri.split("/", 2)[1]):
            wanted, uri = uri.split("/", 2)[1:]
        if wanted is not None and project.source(wanted) is None:
            raise _unknown_source(wanted)
        self._tell("looking for the item", 0, None)
        found: dict[str, tuple[_Place, Document]] = {}
        places = [self._place(source) for source in project.sources if wanted in (None, source.name)]
        for place in places:
            with refused(_SEARCH):
                documents = self._reader.find_items(place.source.id, [uri], source_name=place.display_name)
            if uri in documents:
                found[place.source.name] = place, documents[uri]
        if len(found) > 1:
            raise several_items(uri, found)
        if not found and len(places) == 1 and not _UNSEARCHABLE.isdisjoint(uri):
            found[places[0].source.name] = places[0], {"uri": uri}
        if not found:
            raise self._unknown_item(uri, wanted)
        place, document = next(iter(found.values()))
        model = self._model(place, _handle(document))
        if model is None:
            raise self._unknown_item(uri, wanted)
        return place, self._add_item(place, uri, model), model

    def _unknown_item(self, uri: str, source: str | None) -> RemoteError:
        """Return the error for an item that a search does not show."""
        where = f" in source {source}" if source else ""
        with refused(_MODELS):
            try:
                self._reader.item_permissions(uri)
            except RemoteError as error:
                if status_of(error) != _NOT_FOUND:
                    raise
                return RemoteError(
                    Problem(
                        "unknown-item",
                        f'the remote has no item "{uri}"{where}',
                        why="what was accepted a moment ago is not indexed yet, and what was rejected never is.",
                        fix="give its uri as it stands in the manifests, wait, or see what `reconciler verify` says.",
                    )
                )
        return RemoteError(
            Problem(
                "hidden-item",
                f'the remote has an item "{uri}", and a search does not show it{where}',
                why="it is of another source, or the API key may not see it: so nobody can say which source decides.",
                fix=f"give the API key the privileges: {_SEARCH}.",
            )
        )

    def _all_items(self, place: _Place) -> None:
        """Read the items of a source, and where they decide the permission model of each."""
        name, source = place.source.name, place.source
        with refused(_SEARCH):
            documents: list[Document] = []
            for document in self._reader.source_items(source.id, source_name=place.display_name):
                documents.append(document)
                if len(documents) % _CHUNK == 0:
                    self._tell(f"listing items of {name}", len(documents), place.documents)
        if place.documents is not None and len(documents) < place.documents:
            self._facts.incomplete.append(
                f"source {name}: a search shows {len(documents):,} of {count(place.documents, 'item')}; the key may "
                f"lack the privileges {_SEARCH}, or the index is behind"
            )
        if place.visibility == "shared":
            for document in documents:
                self._place_item(place, document["uri"], ObservedModel(None, "", ()))
            return
        gone = 0
        for start in range(0, len(documents), _CHUNK):
            self._tell(f"reading permissions of {name}", start, len(documents))
            part = documents[start : start + _CHUNK]
            models = self._each(lambda document: self._model(place, _handle(document)), part)
            for document, model in zip(part, models, strict=True):
                if model is None:
                    gone += 1
                else:
                    self._add_item(place, document["uri"], model)
        if gone:
            self._facts.incomplete.append(f"source {name}: {count(gone, 'item')} went while it was read")

    def _model(self, place: _Place, handle: str) -> ObservedModel | None:
        with refused(_MODELS):
            try:
                document = self._reader.item_permissions(handle)
            except RemoteError as error:
                if status_of(error) == _NOT_FOUND:
                    return None
                raise
        return observed_model(document, self._id(place.source.provider or ""), self._name)

    def _add_item(self, place: _Place, uri: str, model: ObservedModel) -> str:
        for entry in model.entries:
            self._facts.identities.see(entry)
        silent = {entry.identity for entry in model.entries if not entry.state}
        for known in self._each(self._entity, sorted(silent)):
            if known is not None:
                self._facts.identities.see(known)
        address = self._place_item(place, uri, model)
        if place.visibility != "shared":
            self._facts.states[address] = model.state
        return address

    def _place_item(self, place: _Place, uri: str, model: ObservedModel) -> str:
        item = observed_item(place.source.name, uri, model.model)
        self._facts.items[str(item.address)] = item
        return str(item.address)

    # Identities

    def _known(self, person: str) -> None:
        """Take in whom a question is about; RemoteError for one that the remote does not know."""
        found = self._entity(person)
        if found is not None:
            # As it was asked for: the remote may spell it otherwise, which is the same or not as its provider says.
            self._facts.identities.see(Entry(person, found.state))
            return
        if parse_identity(person).provider == self._readings.email_provider:
            return  # such an identity need not be pushed (push-api.md 3.5)
        raise RemoteError(
            Problem(
                "unknown-identity",
                f"the remote does not know {parse_identity(person).short} of provider "
                f'"{parse_identity(person).provider}"',
                why="whoever logs in as it is nobody's member and nobody's alias: they see what everybody sees.",
                fix="check its name and --provider; what was pushed a moment ago waits for the next refresh of the "
                "security cache.",
            )
        )

    def _entity(self, identity: str) -> Entry | None:
        """Return what the remote says of an identity, None if it does not know it."""
        parsed = parse_identity(identity)
        provider = self._id(parsed.provider)
        with refused(_IDENTITIES):
            try:
                document = self._reader.identity(provider, parsed)
            except RemoteError as error:
                if status_of(error) == _NOT_FOUND:
                    return None
                raise
        return observed_entry(document, provider, self._name)

    def _below(self, model: ObservedModel) -> None:
        """Read everybody who has one of the identities that a model names."""
        self._walk((entry.identity for entry in model.entries), self._inside)

    def _above(self, person: str | None) -> None:
        """Read what somebody has: aliases, groups, the groups around those and around the patterns of both."""
        if person is not None:
            self._known(person)
        self._walk([self._readings.everybody, *([person] if person is not None else ())], self._around)

    def _walk(
        self, start: Iterable[str], near: Callable[[str], tuple[list[Entry], list[tuple[str, str]], list[str]]]
    ) -> None:
        """Go on from identity to identity until nothing new is found, those of one distance at a time."""
        seen = set(start)
        waiting = sorted(seen)
        identities = self._facts.identities
        while waiting:
            following: set[str] = set()
            for begin in range(0, len(waiting), _CHUNK):
                self._tell("reading identities", len(seen) - len(waiting) + begin, len(seen))
                part = waiting[begin : begin + _CHUNK]
                for identity, (entries, contained, same) in zip(part, self._each(near, part), strict=True):
                    for entry in entries:
                        identities.see(entry)
                        following.add(entry.identity)
                    for group, member in contained:
                        identities.contain(group, member)
                    for other in same:
                        identities.equate(identity, other)
            waiting = sorted(name for name in following - seen if not identities.disabled(name))
            seen.update(waiting)

    def _inside(self, identity: str) -> tuple[list[Entry], list[tuple[str, str]], list[str]]:
        """Return who is in a group, or who is the same person as somebody."""
        if identity == self._readings.everybody or self._facts.identities.disabled(identity):
            return [], [], []
        if is_group(identity):
            entries = self._near(identity, self._reader.group_members)
            return entries, [(identity, entry.identity) for entry in entries], []
        aliases = [entry for entry in self._near(identity, self._reader.identity_parents) if is_person(entry.identity)]
        return aliases, [], [entry.identity for entry in aliases]

    def _around(self, identity: str) -> tuple[list[Entry], list[tuple[str, str]], list[str]]:
        """Return what an identity is in, and who is the same person."""
        if self._facts.identities.disabled(identity):
            return [], [], []
        entries = self._near(identity, self._reader.identity_parents)
        groups = [entry for entry in entries if is_group(entry.identity)]
        aliases = [entry for entry in entries if not is_group(entry.identity) and is_person(identity)]
        pattern = self._readings.domain_pattern(self._readings.key(identity))
        # That the pattern covers it is no relation that anybody pushed, but the pattern may itself be in a group.
        patterns = [Entry(pattern, "")] if pattern else []
        contained = [(entry.identity, identity) for entry in groups]
        return [*groups, *aliases, *patterns], contained, [entry.identity for entry in aliases]

    def _near(self, identity: str, ask: Callable[[str, Any], Iterator[Document]]) -> list[Entry]:
        parsed = parse_identity(identity)
        provider = self._id(parsed.provider)
        with refused(_IDENTITIES):
            try:
                documents = list(ask(provider, parsed))
            except RemoteError as error:
                if status_of(error) == _NOT_FOUND:
                    return []  # nothing is known of it, so it is in nothing
                raise
        found = (observed_entry(document, provider, self._name) for document in documents)
        return [entry for entry in found if entry is not None]

    def _all_of(self, providers: Iterable[str]) -> None:
        """Read who there is in these providers."""
        for name in providers:
            provider = self._id(name)
            with refused(_IDENTITIES):
                try:
                    for number, document in enumerate(self._reader.provider_members(provider)):
                        entry = observed_entry(document, provider, self._name)
                        if entry is not None:
                            self._facts.identities.see(entry)
                        if number % _CHUNK == 0:
                            self._tell(f"listing identities of {name}", number, None)
                except RemoteError as error:
                    if status_of(error) != _NOT_FOUND:
                        raise
                    self._facts.incomplete.append(f"provider {name}: the remote does not list its identities")

    # Providers

    def _id(self, name: str) -> str:
        return self._ids.get(name, name.replace("%2F", "/"))

    def _providers(self) -> set[str]:
        facts = self._facts.identities
        named = {member for members in facts.members.values() for member in members}
        return {identity.split("/", 2)[1] for identity in (*facts.states, *facts.members, *named)}

    def _case_sensitive(self, name: str) -> bool:
        """Return whether a provider tells upper from lower case, as the remote says; asked once for each."""
        if name not in self._case:
            declared = self._session.project.provider(name)
            ours = declared is not None and declared.case_sensitive
            self._case[name] = ours
            try:
                shown = self._reader.provider(self._id(name)).get("caseSensitive")
            except RemoteError as error:
                if status_of(error) not in (_NOT_FOUND, _FORBIDDEN):
                    raise
                shown = None
            if isinstance(shown, bool):
                self._case[name] = shown
                if declared is not None and shown is not ours:
                    _warn_of_case(name, shown)
            else:
                self._facts.incomplete.append(
                    f"provider {name}: the remote does not say whether it tells upper from lower case; taken for "
                    f"caseSensitive: {str(ours).lower()}"
                )
        return self._case[name]

    def _each(self, function: Callable[[A], B], values: Sequence[A]) -> list[B]:
        return list(self._pool.map(function, values))


def _unknown_source(name: str) -> UsageError:
    return UsageError(
        Problem(
            "unknown-source",
            f'the project has no source "{name}"',
            why="without its id nobody knows where to look.",
            fix="give the name that `sources` has for it.",
        )
    )


def _warn_of_case(provider: str, sensitive: bool) -> None:
    from reconciler.cli.output import show_problems

    value = str(sensitive).lower()
    show_problems(
        [
            Problem(
                "case-sensitivity",
                f'provider "{provider}" is caseSensitive: {value} at the remote, and not so in the project',
                why="manifests and state are then evaluated otherwise than the remote does.",
                fix=f"write `caseSensitive: {value}` under the provider.",
                severity=Severity.WARNING,
            )
        ]
    )


def _handle(document: Document) -> str:
    handle = document.get("uniqueId")
    return handle if isinstance(handle, str) and handle else str(document["uri"])


def status_of(error: RemoteError) -> int | None:
    return getattr(error, "status", None)


@contextmanager
def refused(privileges: str) -> Iterator[None]:
    """Say of a read that is forbidden which privileges it takes (push-api.md 1.3)."""
    try:
        yield
    except RemoteError as error:
        if status_of(error) != _FORBIDDEN:
            raise
        fix = f"give the API key the privileges: {privileges}; or use the key of the right organization."
        raise RemoteError(replace(error.problems[0], fix=fix)) from None


@contextmanager
def progress() -> Iterator[Tell]:
    """Give what shows on a terminal how reading goes on; elsewhere it shows nothing."""
    import sys

    from reconciler.cli.options import wants_bar

    if not wants_bar():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console  # 60 ms to import, and only a terminal needs it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("asking the remote", total=None)
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)
