"""`reconciler access`: who sees an item, what somebody sees, and why; from manifests or state, never the remote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler.cli.options import format_option, project_options
from reconciler.problems import Problem, UsageError, did_you_mean

if TYPE_CHECKING:
    from reconciler.cli.session import Session
    from reconciler.cli.worlds import World

F = TypeVar("F", bound=Callable[..., Any])

_KNOWN = 50  # names that a suggestion is looked for among


@click.group("access")
def command() -> None:
    """Say who sees what, and why, as the manifests ask for it or as it was accepted.

    An identity is `user:NAME` of the source's provider, or with `--provider` of another one. What is declared
    nowhere lets nobody in, and is said.

    Example:

    \b
        reconciler access who file://folder/mytext.txt
        reconciler access why user:bob@example.com file://folder/mytext.txt
    """


def access_options(function: F) -> F:
    """Add which state is asked, and how it is told."""
    of = click.option(
        "--of",
        "side",
        type=click.Choice(["desired", "recorded"]),
        default="desired",
        show_default=True,
        help="What the manifests ask for, or what the state records as accepted.",
    )
    return project_options(format_option("text", "json")(of(function)))


source_option = click.option("--source", metavar="NAME", help="The item's source, where several have its uri.")
provider_option = click.option("--provider", metavar="NAME", help="The identity's provider.")


@command.command("who", short_help="Say who sees an item.")
@click.argument("uri", metavar="URI")
@source_option
@access_options
def who(uri: str, source: str | None, side: str, output: str, directory: str | None, environment: str | None) -> int:
    """Say who sees the item at URI: the users of its source's provider.

    Example:

    \b
        reconciler access who https://blog.example.com/2019/01 --source blog --format json
    """
    from reconciler.rendering.access import Viewers, viewers_document, viewers_lines

    with _opened(directory, environment) as session:
        world = _world(session, side)
        address = _item(world, uri, source)
        name = address.split("/", 2)[1]
        declared = session.project.source(name)
        found = Viewers(
            uri=address.split("/", 2)[2],
            source=name,
            anonymous=world.relation.audience(address).anonymous,
            viewers=world.relation.viewers(address, declared.provider if declared else None),
            unresolved=world.relation.unresolved(address),
        )
    _tell(output, viewers_document(found), viewers_lines(found))
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
    directory: str | None,
    environment: str | None,
) -> int:
    """Say what IDENTITY sees: how many items of each source.

    Example:

    \b
        reconciler access what user:alice@example.com --list
    """
    from reconciler.rendering.access import Seen, seen_document, seen_lines

    with _opened(directory, environment) as session:
        world = _world(session, side)
        person = _identity(session, identity, provider)
        totals = Counter(address.split("/", 2)[1] for address in world.addresses if address.startswith("item/"))
        found = Seen(
            identity=person,
            counts=world.relation.counts_seen_by(person),
            totals=totals,
            items=sorted(world.relation.seen_by(person)) if listed else None,
        )
    _tell(output, seen_document(found), seen_lines(found))
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
    directory: str | None,
    environment: str | None,
) -> int:
    """Say why IDENTITY sees the item at URI, or does not: the level and sets that decide, and the way to them.

    Example:

    \b
        reconciler access why user:bob@example.com file://folder/mytext.txt
    """
    from reconciler.cli.worlds import reason_of
    from reconciler.rendering.access import reason_document, reason_lines

    with _opened(directory, environment) as session:
        world = _world(session, side)
        address = _item(world, uri, source)
        name = address.split("/", 2)[1]
        person = _identity(session, identity, provider, name)
        found = reason_of(session.project, world, person, address, world.relation.readings)
    _tell(output, reason_document(found), reason_lines(found))
    return 0


@command.command("diff", short_help="Say who gains and who loses sight of what by the next apply.")
@format_option("text", "json")
@project_options
def diff(directory: str | None, environment: str | None, output: str) -> int:
    """Say who gains and who loses sight of what, between the state and the manifests, and what it comes from.

    It counts people times items: a line in a group may outweigh a thousand changed bodies.

    Example:

    \b
        reconciler access diff --format json
    """
    from reconciler.cli.worlds import expose_change, world_of
    from reconciler.rendering.exposure import exposure_lines
    from reconciler.rendering.exposuredoc import EXAMPLES, exposure_document

    with _opened(directory, environment) as session:
        before = world_of(session, "recorded")
        found = expose_change(before, world_of(session, "desired"), examples=EXAMPLES)
    document = exposure_document(found, before.relation.names)
    _tell(output, document, exposure_lines(document))
    return 0


def _opened(directory: str | None, environment: str | None) -> Session:
    from reconciler.cli.session import open_session

    return open_session(directory, environment)


def _world(session: Session, side: str) -> World:
    from reconciler.cli.worlds import world_of

    return world_of(session, "recorded" if side == "recorded" else "desired")


def _item(world: World, uri: str, source: str | None) -> str:
    """Return the address of the item that is meant. Raises UsageError for none, or for several."""
    found = [address for address in world.items_at(uri) if source in (None, address.split("/", 2)[1])]
    if len(found) == 1:
        return found[0]
    if found:
        sources = ", ".join(address.split("/", 2)[1] for address in found)
        raise UsageError(
            Problem(
                "several-items",
                f'"{uri}" is an item of several sources: {sources}',
                why="each has permissions of its own.",
                fix="name one with --source.",
            )
        )
    near = [address.split("/", 2)[2] for address in world.addresses if address.startswith("item/")][:_KNOWN]
    raise UsageError(
        Problem(
            "unknown-item",
            f'there is no item "{uri}"{f" in source {source}" if source else ""}',
            fix=did_you_mean(uri, near) or "give its uri as it stands in the manifests.",
        )
    )


def _identity(session: Session, text: str, provider: str | None, source: str | None = None) -> str:
    """Return the canonical identity that is meant. Raises UsageError for one that cannot be read."""
    from reconciler.model.identity import Identity, identity_type
    from reconciler.permissions.readings import EMAIL_PROVIDER

    word, colon, name = text.partition(":")
    kind = identity_type(word) if colon and name else None
    if kind is None:
        raise UsageError(
            Problem(
                "bad-identity",
                f'"{text}" is no identity',
                fix="write it as user:NAME, group:NAME or virtualGroup:NAME.",
            )
        )
    names = [declared.name for declared in session.project.providers]
    declared = session.project.source(source) if source else None
    chosen = provider or (declared.provider if declared else None) or (names[0] if len(names) == 1 else EMAIL_PROVIDER)
    return str(Identity(kind, chosen, name))


def _tell(output: str, document: dict[str, Any], lines: Iterable[str]) -> None:
    import orjson

    from reconciler.cli.output import write

    if output == "json":
        write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        write("".join(f"{line}\n" for line in lines))
