"""`reconciler access`: who sees an item, what somebody sees, and why; of manifests, of the state or of the remote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from reconciler.cli.options import (
    access_out_option,
    as_of_option,
    format_option,
    moment_option,
    past_moment,
    project_options,
)
from reconciler.problems import Problem, UsageError, did_you_mean

if TYPE_CHECKING:
    from reconciler.cli.session import Session
    from reconciler.cli.worlds import World
    from reconciler.manifest.project import Project

F = TypeVar("F", bound=Callable[..., Any])

DESIRED, RECORDED, REMOTE = "desired", "recorded", "remote"
_PAST = f"{RECORDED}@"
_KNOWN = 50  # names that a suggestion is looked for among


@click.group("access")
def command() -> None:
    """Say who sees what, and why, as the manifests ask for it, as it was accepted or as the remote has it.

    An identity is `user:NAME` of the source's provider, or with `--provider` of another one; `anonymous` is whoever
    did not log in. What is declared nowhere lets nobody in, and is said. What the remote does not show is said, too.
    With `--at` it is told of a moment of the past, as the state had it recorded then.

    Example:

    \b
        reconciler access who file://folder/mytext.txt
        reconciler access why user:bob@example.com file://folder/mytext.txt
        reconciler access who file://folder/mytext.txt --at 2026-03-01
    """


def access_options(function: F) -> F:
    """Add which state is asked, and how it is told."""
    of = click.option(
        "--of",
        "side",
        type=click.Choice([DESIRED, RECORDED, REMOTE]),
        default=DESIRED,
        show_default=True,
        help="What the manifests ask for, what the state records as accepted, or what the remote shows.",
    )
    return project_options(format_option("text", "json")(of(as_of_option(moment_option(function)))))


source_option = click.option("--source", metavar="NAME", help="The item's source, where several have its uri.")
provider_option = click.option("--provider", metavar="NAME", help="The identity's provider.")


@command.command("who", short_help="Say who sees an item.")
@click.argument("uri", metavar="URI")
@source_option
@access_options
def who(
    uri: str,
    source: str | None,
    side: str,
    output: str,
    as_of: int | None,
    moment: int | None,
    directory: str | None,
    environment: str | None,
) -> int:
    """Say who sees the item at URI: the users of its source's provider.

    Example:

    \b
        reconciler access who https://blog.example.com/the-202-lie --source blog --format json
        reconciler access who file://folder/mytext.txt --at 2026-03-01T18:00:00+01:00
    """
    from reconciler.rendering.access import Viewers, viewers_document, viewers_lines

    side = _checked_side(side, moment, as_of)
    with _opened(directory, environment, as_of) as session:
        if side == REMOTE:
            from reconciler.cli.remoteworld import RemoteWorlds

            with RemoteWorlds(session) as worlds:
                world, address = worlds.of_item(uri, source)
        else:
            world = _world(session, side, moment)
            address = _item(world, uri, source)
        name = address.split("/", 2)[1]
        declared = session.project.source(name)
        found = Viewers(
            uri=address.split("/", 2)[2],
            source=name,
            anonymous=world.relation.audience(address).anonymous,
            viewers=world.relation.viewers(address, declared.provider if declared else None),
            unresolved=world.relation.unresolved(address),
            observed=side == REMOTE,
            others=_kept_out(world, address, declared.provider if declared else None),
        )
    _answer(output, viewers_document(found), viewers_lines(found), side, world)
    return 0


@command.command("what", short_help="Say what somebody sees.")
@click.argument("identity", metavar="IDENTITY")
@provider_option
@click.option("--list", "listed", is_flag=True, help="List the items, too.")
@access_options
def what(
    identity: str,
    provider: str | None,
    listed: bool,
    side: str,
    output: str,
    as_of: int | None,
    moment: int | None,
    directory: str | None,
    environment: str | None,
) -> int:
    """Say what IDENTITY sees: how many items of each source.

    Example:

    \b
        reconciler access what user:alice@example.com --list
    """
    from reconciler.rendering.access import Seen, seen_document, seen_lines

    side = _checked_side(side, moment, as_of)
    with _opened(directory, environment, as_of) as session:
        person = _identity(session, identity, provider)
        if side == REMOTE:
            from reconciler.cli.remoteworld import RemoteWorlds

            with RemoteWorlds(session) as worlds:
                world = worlds.of_person(person)
        else:
            world = _world(session, side, moment)
        totals = Counter(address.split("/", 2)[1] for address in world.addresses if address.startswith("item/"))
        found = Seen(
            identity=person or world.relation.readings.everybody,
            counts=world.relation.counts_seen_by(person),
            totals=totals,
            items=sorted(world.relation.seen_by(person)) if listed else None,
            known=person is None or world.relation.graph.find(person) is not None,
            elsewhere=_elsewhere(session.project, world, person),
        )
    _answer(output, seen_document(found), seen_lines(found), side, world)
    return 0


@command.command("why", short_help="Say why somebody does or does not see an item.")
@click.argument("identity", metavar="IDENTITY")
@click.argument("uri", metavar="URI")
@source_option
@provider_option
@access_options
def why(
    identity: str,
    uri: str,
    source: str | None,
    provider: str | None,
    side: str,
    output: str,
    as_of: int | None,
    moment: int | None,
    directory: str | None,
    environment: str | None,
) -> int:
    """Say why IDENTITY sees the item at URI, or does not: the level and sets that decide, and the way to them.

    Example:

    \b
        reconciler access why user:bob@example.com file://folder/mytext.txt
    """
    from dataclasses import replace

    from reconciler.cli.worlds import reason_of
    from reconciler.rendering.access import reason_document, reason_lines

    side = _checked_side(side, moment, as_of)
    with _opened(directory, environment, as_of) as session:
        if side == REMOTE:
            from reconciler.cli.remoteworld import RemoteWorlds

            with RemoteWorlds(session) as worlds:
                world, address, person = worlds.of_item_and_person(
                    uri, source, lambda name: _identity(session, identity, provider, name)
                )
        else:
            world = _world(session, side, moment)
            address = _item(world, uri, source)
            person = _identity(session, identity, provider, address.split("/", 2)[1])
        found = reason_of(session.project, world, person, address, world.relation.readings)
        found = replace(found, elsewhere=_elsewhere(session.project, world, person))
    _answer(output, reason_document(found), reason_lines(found), side, world)
    return 0


@command.command("diff", short_help="Say who gains and who loses sight of what by a change.")
@click.option(
    "--from",
    "start",
    metavar="REVISION",
    default=RECORDED,
    help="The git revision to start from; by default what the state records.",
)
@click.option(
    "--to",
    "end",
    metavar="REVISION",
    default=DESIRED,
    help="The git revision to end with; by default the manifests as they are.",
)
@format_option("text", "json", "html")
@access_out_option
@as_of_option
@project_options
def diff(
    start: str,
    end: str,
    directory: str | None,
    environment: str | None,
    output: str,
    access_out: Path | None,
    as_of: int | None,
) -> int:
    """Say who gains and who loses sight of what, between the state and the manifests, and what it comes from.

    It counts people times items: a line in a group may outweigh a thousand changed bodies. With --from and --to it
    compares what is committed: a REVISION is a commit, branch or tag of the repository that holds the project;
    `recorded` and `desired` stand for the state and for the manifests as they are, `recorded@MOMENT` for the state as
    it was at a date or time.

    Example:

    \b
        reconciler access diff --format json
        reconciler access diff --from main
        reconciler access diff --from recorded@2026-03-01 --to recorded
    """
    from reconciler.cli.pastworld import past_lines
    from reconciler.cli.planaccess import exposure_told
    from reconciler.cli.worlds import comparable, expose_change
    from reconciler.rendering.exposure import exposure_lines
    from reconciler.rendering.exposuredoc import EXAMPLES

    with (
        _opened(directory, environment, as_of) as session,
        _side(session, end, None) as (last, last_name),
        _side(session, start, last) as (first, first_name),
    ):
        before, after = comparable(first, last)
        found = expose_change(before, after, examples=EXAMPLES)
        document, _ = exposure_told(session.project, found, before.relation, out=access_out)
        past = {name: dict(world.rests_on) for name, world in (("from", first), ("to", last)) if world.rests_on}
    document = {"from": first_name, "to": last_name, **document, **({"at": past} if past else {})}
    if output == "html":
        from reconciler.cli.output import write
        from reconciler.rendering.html import render_exposure_html

        write(render_exposure_html(document, before=_told(first_name), after=_told(last_name)))
        return 0
    lines: Iterable[str] = exposure_lines(document)
    if (start, end) != (RECORDED, DESIRED):
        lines = [f"From {_told(first_name)} to {_told(last_name)}:", *lines]
        for rests_on in past.values():
            lines = [*lines, *past_lines(rests_on)]
    _tell(output, document, lines)
    return 0


@contextmanager
def _side(session: Session, name: str, other: World | None) -> Iterator[tuple[World, str]]:
    """Give one side of a comparison and what it is called; `other` is the other side, if that is known already."""
    from reconciler.cli.revisions import manifests_at
    from reconciler.cli.worlds import loaded_world

    if name in (RECORDED, DESIRED):
        yield _world(session, name), name
        return
    if name.startswith(_PAST):
        world = _world(session, RECORDED, past_moment(name.removeprefix(_PAST), f'the moment in "{name}"'))
        yield world, f"{_PAST}{world.rests_on['moment']}"
        return
    with manifests_at(session, name, other.addresses if other else {}) as (revision, project, loaded):
        yield loaded_world(project, loaded), name if name == revision.commit else f"{name} ({revision.short})"


def _told(side: str) -> str:
    from reconciler.rendering.values import visible

    if side.startswith(_PAST):
        return f"what was accepted by {side.removeprefix(_PAST)}"
    return {RECORDED: "what was accepted", DESIRED: "what the manifests ask for"}.get(side, visible(side))


def _opened(directory: str | None, environment: str | None, as_of: int | None) -> Session:
    from reconciler.cli.session import open_session

    return open_session(directory, environment, as_of=as_of)


def _checked_side(side: str, moment: int | None, as_of: int | None) -> str:
    """Return which state is asked: that of the past was recorded. Raises UsageError for what the past cannot tell."""
    if moment is None:
        return side
    given = click.get_current_context().get_parameter_source("side") is not ParameterSource.DEFAULT
    if as_of is not None or (given and side != RECORDED):
        option = "--as-of" if as_of is not None else f"--of {side}"
        raise UsageError(
            Problem(
                "at-recorded",
                f"--at does not go with {option}",
                why="of the past it is known what was recorded as accepted; manifests of the past are in git.",
                fix=f"leave {option} out; for what manifests asked for, compare with their revision: "
                "access diff --from REVISION.",
            )
        )
    return RECORDED


def _world(session: Session, side: str, moment: int | None = None) -> World:
    from reconciler.cli.worlds import world_of

    if moment is not None:
        from reconciler.cli.pastworld import past_world

        return past_world(session, moment)
    return world_of(session, "recorded" if side == RECORDED else "desired")


def _kept_out(world: World, address: str, provider: str | None) -> list[str]:
    """Return the users of a provider, by default of all, who do not see an item that everybody else sees."""
    audience = world.relation.audience(address)
    if not audience.anonymous:
        return []
    names = world.relation.names(audience.others)
    return names if provider is None else [name for name in names if name.startswith(f"user/{provider}/")]


def _item(world: World, uri: str, source: str | None) -> str:
    """Return the address of the item that is meant. Raises UsageError for none, or for several."""
    found = [address for address in world.items_at(uri) if source in (None, address.split("/", 2)[1])]
    if len(found) == 1:
        return found[0]
    if found:
        from reconciler.cli.worlds import several_items

        raise several_items(uri, (address.split("/", 2)[1] for address in found))
    near = [address.split("/", 2)[2] for address in world.addresses if address.startswith("item/")][:_KNOWN]
    raise UsageError(
        Problem(
            "unknown-item",
            f'there is no item "{uri}"{f" in source {source}" if source else ""}',
            why=_not_then(uri, world),
            fix=did_you_mean(uri, near) or "give its uri as it stands in the manifests.",
        )
    )


def _not_then(uri: str, world: World) -> str:
    """Return what is said of an item that was not recorded at a moment of the past."""
    rests_on = world.rests_on
    if not rests_on:
        return ""
    doubtful = any(uri in (entry["address"], entry["address"].split("/", 2)[2]) for entry in rests_on["unconfirmed"])
    told = f"none was recorded as accepted at {rests_on['moment']}"
    return f"{told}; a call for it had been sent, and nobody knew its outcome." if doubtful else f"{told}."


def _identity(session: Session, text: str, provider: str | None, source: str | None = None) -> str | None:
    """Return the canonical identity that is meant, None for who did not log in. Raises UsageError for no identity."""
    from reconciler.model.identity import Identity, identity_type
    from reconciler.rendering.access import ANONYMOUS

    if text == ANONYMOUS:
        return None
    word, colon, name = text.partition(":")
    kind = identity_type(word) if colon and name else None
    if kind is None:
        raise UsageError(
            Problem(
                "bad-identity",
                f'"{text}" is no identity',
                fix="write it as user:NAME, group:NAME or virtualGroup:NAME; anonymous is whoever did not log in.",
            )
        )
    return str(Identity(kind, _provider(session.project, provider, source), name))


def _provider(project: Project, named: str | None, source: str | None) -> str:
    """Return the provider that is meant, as canonical identities name it: by default the source's, or the only one.

    Raises UsageError for one that no manifest can speak of.
    """
    from reconciler.cli.worlds import readings_of

    email = readings_of(project).email_provider
    names = {known.name: known.name for known in project.providers}
    if named is None:
        declared = project.source(source) if source else None
        return (declared.provider if declared else None) or (next(iter(names)) if len(names) == 1 else email)
    others = {known.id: known.name for known in project.providers}
    targets = {target: others.get(target, target) for known in project.providers for target in known.cascades_to}
    known = {email: email, **targets, **others, **names}
    if named not in known:
        raise UsageError(
            Problem(
                "unknown-provider",
                f'no provider is named "{named}"',
                why="nothing is known of its identities, so whoever logs in as one would see what everybody sees.",
                fix=did_you_mean(named, known)
                or f"name one of: {', '.join(sorted({*names, *targets.values(), email}))}.",
            )
        )
    return known[named]


def _elsewhere(project: Project, world: World, person: str | None) -> tuple[str, ...]:
    """Return the providers that know an identity of this type and name, where the one that was asked does not."""
    from dataclasses import replace

    from reconciler.model.identity import parse_identity

    find = world.relation.graph.find
    if person is None or find(person) is not None:
        return ()
    parsed = parse_identity(person)
    names = (*(known.name for known in project.providers), world.relation.readings.email_provider)
    return tuple(dict.fromkeys(name for name in names if find(str(replace(parsed, provider=name))) is not None))


def _answer(output: str, document: dict[str, Any], lines: Iterable[str], side: str, world: World) -> None:
    """Tell an answer, of the remote what it did not show, and of the past what the answer rests on."""
    from reconciler.rendering.values import visible

    if side == REMOTE:
        document = {**document, "incomplete": list(world.incomplete)}
        lines = [*lines, *(f"incomplete: {visible(what)}" for what in world.incomplete)]
    if world.rests_on:
        from reconciler.cli.pastworld import past_lines

        document = {**document, "at": dict(world.rests_on)}
        lines = [*lines, *past_lines(world.rests_on)]
    _tell(output, document, lines)


def _tell(output: str, document: dict[str, Any], lines: Iterable[str]) -> None:
    import orjson

    from reconciler.cli.output import write

    if output == "json":
        write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        write("".join(f"{line}\n" for line in lines))
