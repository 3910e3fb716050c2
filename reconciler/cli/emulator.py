"""`reconciler emulator`: the embedded emulator as a server of its own."""

from __future__ import annotations

import errno
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.emulator_conduct import Conduct, applied, bad_fault, conduct_options, is_key
from reconciler.cli.options import project_options
from reconciler.logs import tell
from reconciler.problems import Problem, UsageError, did_you_mean

if TYPE_CHECKING:
    from reconciler.emulator.options import EmulatorOptions, SourceKind, SourceOptions, Visibility

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8080
DEFAULT_ORGANIZATION = "local"  # what an environment with `target: emulator` is called when it does not say
API_KEY_VARIABLE = "RECONCILER_EMULATOR_API_KEY"
_VISIBILITIES: dict[str, Visibility] = {"secured": "SECURED", "shared": "SHARED", "private": "PRIVATE"}
_KINDS: dict[str, SourceKind] = {"push": "push", "catalog": "catalog"}
_WORDS = "secured, shared or private, push or catalog"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the options ask to serve."""

    organizations: tuple[str, ...]
    sources: tuple[str, ...]
    providers: tuple[str, ...]
    data: Path | None
    delay: float


@click.command("emulator")
@click.option("--host", default=LOOPBACK, show_default=True, metavar="HOST", help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    metavar="N",
    help="The port; 0 takes a free one.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep what is pushed in this folder (default: only while it runs).",
)
@click.option("--organization", "organizations", metavar="ORG", multiple=True, help="An organization (repeatable).")
@click.option(
    "--source",
    "sources",
    metavar="ID[:secured|shared|private][:catalog]",
    multiple=True,
    help="A source (repeatable): secured unless it says otherwise, then with the first provider; a catalog takes the "
    "Stream API besides.",
)
@click.option("--provider", "providers", metavar="ID", multiple=True, help="A security identity provider (repeatable).")
@click.option(
    "--api-key",
    envvar=API_KEY_VARIABLE,
    show_envvar=True,
    metavar="KEY",
    help="The key that opens it (default: a random one, told on stderr). Others on this machine can read a key "
    "on a command line: better put it in the environment variable.",
)
@click.option(
    "--delay",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="The time between accepting and processing; minutes at the real remote.",
)
@conduct_options
@click.option("--project", is_flag=True, help="Serve what reconciler.yaml names for the environment, beside the rest.")
@project_options
def command(
    host: str,
    port: int,
    data: Path | None,
    organizations: tuple[str, ...],
    sources: tuple[str, ...],
    providers: tuple[str, ...],
    api_key: str | None,
    delay: float,
    project: bool,
    directory: str | None,
    environment: str | None,
    conduct: Conduct,
) -> int:
    """Serve the embedded emulator of the Push API until SIGTERM or Ctrl-C.

    Prints one line on stdout, its URL, once requests are answered; all else goes to stderr. An
    environment uses it by `target: URL`. The same URL shows a page with what it holds.

    Examples:

    \b
        reconciler emulator --port 0 --organization acme --source docs --provider corp
        reconciler emulator --source docs:shared --source products:shared:catalog --fields strict
        reconciler emulator --project -e local --data .reconciler/served
        reconciler emulator --project --rate published --fault 'PUT documents/batch: 503 x2'
    """
    if not math.isfinite(delay):
        raise click.BadParameter("give a number of seconds.", param_hint="'--delay'")
    asked = _Asked(organizations, sources, providers, data, delay)
    options = applied(conduct, _options(asked, _project_options(directory, environment) if project else None))
    key, told = _api_key(api_key)
    _prepare(data)

    def ready(url: str) -> None:
        for line in _notes(host, key if told else "", data):
            tell("emulator.note", line)
        click.echo(url)

    with _hold(data):
        _serve(replace(options, api_key=key), host, port, ready)
    return 0


# -- what to serve ---------------------------------------------------------------------------------


def _project_options(directory: str | None, environment: str | None) -> EmulatorOptions:
    from reconciler.cli.remote import emulator_options
    from reconciler.manifest.opening import find_project, read_project

    return emulator_options(read_project(*find_project(directory), environment))


def _options(asked: _Asked, named: EmulatorOptions | None) -> EmulatorOptions:
    """Return what to serve: what the project names (`named`), then what the options add to it."""
    from reconciler.emulator.options import EmulatorOptions, ProviderOptions

    if named is None:
        if not asked.sources and not asked.providers:
            raise UsageError(
                Problem(
                    "nothing-to-serve",
                    "there is no source and no provider to serve",
                    why="every push names one of them, and one that is not there is refused.",
                    fix="name them, or serve what the project names:\n    reconciler emulator --project",
                )
            )
        named = EmulatorOptions(organizations=())
    organizations = _unique((*named.organizations, *asked.organizations)) or (DEFAULT_ORGANIZATION,)
    known = {entry[0] for entry in named.providers}
    providers = (*named.providers, *(ProviderOptions(name) for name in _unique(asked.providers) if name not in known))
    first = providers[0][0] if providers else None
    for name in (*organizations, *(entry[0] for entry in providers)):
        _check_id(name)
    return EmulatorOptions(
        organizations=organizations,
        sources=_sources(named.source_table, asked.sources, first),
        providers=providers,
        data_dir=asked.data,
        delay=asked.delay,
    )


def _sources(named: dict[str, SourceOptions], texts: Sequence[str], provider: str | None) -> tuple[SourceOptions, ...]:
    found = dict(named)
    for text in texts:
        source = _source(text, named)
        if source.id in found and source.id not in named:
            raise _bad_source(text, f'source "{source.id}" is given twice')
        found[source.id] = source
    return tuple(
        source._replace(provider=provider) if source.visibility == "SECURED" and source.provider is None else source
        for source in found.values()
    )


def _source(text: str, named: dict[str, SourceOptions]) -> SourceOptions:
    """Return the source that an id and up to two words after colons mean, or change in one of `named`.

    Raises UsageError for anything else.
    """
    from reconciler.emulator.options import SourceKind, SourceOptions, Visibility

    name, *words = text.split(":")
    visibilities, kinds = list[Visibility](), list[SourceKind]()
    for word in words:
        if (visibility := _VISIBILITIES.get(word.lower())) is not None:
            visibilities.append(visibility)
        elif (kind := _KINDS.get(word.lower())) is not None:
            kinds.append(kind)
        else:
            near = did_you_mean(word.lower(), (*_VISIBILITIES, *_KINDS))
            raise _bad_source(
                text, f'"{word}" is no visibility and no kind of a source', near or f"use {_WORDS}, or leave it out."
            )
    if len(visibilities) > 1 or len(kinds) > 1:
        raise _bad_source(text, "it says one thing twice")
    _check_id(name, text)
    source = named.get(name, SourceOptions(name))
    return source._replace(visibility=(*visibilities, source.visibility)[0], kind=(*kinds, source.kind)[0])


def _bad_source(text: str, what: str, fix: str = "") -> UsageError:
    return UsageError(
        Problem("bad-source", what, fix=fix or "write --source ID or --source ID:shared.", where=f"--source {text}")
    )


def _check_id(name: str, text: str | None = None) -> None:
    """Refuse an id that no path could hold; `text` is the --source that it stands in."""
    if name and name.isprintable() and "/" not in name:
        return
    what = f'"{name}" is no id' if name else "the id is empty"
    if text is not None:
        raise _bad_source(text, what)
    raise UsageError(Problem("bad-id", what, why="it is a part of every path.", fix="give the id that calls name."))


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _api_key(given: str | None) -> tuple[str, bool]:
    """Return the key, and whether it has to be told because it was made here."""
    if given is None:
        import secrets

        return secrets.token_urlsafe(24), True
    if not is_key(given):
        raise UsageError(
            Problem(
                "api-key-unusable",
                "the API key is empty or holds characters that no key has",
                why="it could not be sent in a header.",
                fix="use one word of letters, digits and dashes.",
            )
        )
    return given, False


# -- serving it ------------------------------------------------------------------------------------


def _prepare(data: Path | None) -> None:
    """Make the folder for data. Raises UsageError when nothing can be kept there."""
    if data is None:
        return
    try:
        data.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise _unusable(data, "it is no folder") from None
    except OSError as error:
        raise _unusable(data, os.strerror(error.errno or 0)) from None
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        raise _unusable(data, os.strerror(errno.EACCES))


@contextmanager
def _hold(data: Path | None) -> Iterator[None]:
    """Keep other emulators away from the folder: each believes that nobody else writes there."""
    if data is None:
        yield
        return
    from filelock import FileLock, Timeout

    lock = FileLock(data / "emulator.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _unusable(data, "another emulator serves it") from None
    except OSError as error:
        raise _unusable(data, os.strerror(error.errno or 0)) from None
    try:
        yield
    finally:
        lock.release()


def _unusable(data: Path | None, reason: str) -> UsageError:
    return UsageError(
        Problem(
            "data-unusable",
            f"what is pushed cannot be kept there: {reason}",
            fix="give another folder with --data, or leave it out.",
            where=str(data),
        )
    )


def _notes(host: str, key: str, data: Path | None) -> Iterator[str]:
    """Yield what to know of a server that is about to say where it is; `key` is the one made here."""
    if key:
        yield f"API key: {key} (made for this run; set {API_KEY_VARIABLE} to choose one)"
    if data is None:
        yield "what is pushed is gone when it stops; --data DIR keeps it"
    from reconciler.pushapi.hosts import is_loopback

    if not is_loopback(host):
        yield (
            f'warning: "{host}" can be reached from other machines, and the emulator\'s page and control endpoints '
            "take no key"
        )


def _serve(options: EmulatorOptions, host: str, port: int, ready: Callable[[str], None]) -> None:
    from reconciler.emulator.database import UnreadableDatabase
    from reconciler.emulator.faults import BadRule
    from reconciler.emulator.server import serve

    try:
        serve(options, host, port, ready)
    except BadRule as error:  # for a path that does not exist
        raise bad_fault(str(error)) from None
    except (UnreadableDatabase, sqlite3.Error) as error:
        raise _unusable(options.data_dir, str(error)) from None
    except OSError as error:
        if error.filename is not None:  # a socket has none
            raise _unusable(options.data_dir, os.strerror(error.errno or 0)) from None
        raise _cannot_listen(error, host, port) from None
    except UnicodeError as error:  # no name of a host
        raise _cannot_listen(error, host, port) from None


def _cannot_listen(error: OSError | UnicodeError, host: str, port: int) -> UsageError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return UsageError(
            Problem(
                "port-in-use",
                f"something else listens on port {port} of {host}",
                fix="stop it, choose another port, or take a free one with --port 0.",
            )
        )
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return UsageError(
        Problem(
            "cannot-listen",
            f"port {port} of {host} cannot be listened on: {reason}",
            fix="choose another --host or --port; ports below 1024 are for the system.",
        )
    )
