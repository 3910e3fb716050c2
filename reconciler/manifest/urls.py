"""URLs in the settings: no secret may stand in them, and which of them name a store of the state.

What a store makes of the rest of its URL is its own concern: it is opened later, if at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from reconciler.problems import Position, Problem, did_you_mean

POSTGRES_SCHEMES = ("postgresql", "postgres")
OBJECT_SCHEMES = ("s3", "gs", "az")
_OBJECT_OPTIONS = ("account", "endpoint", "region")
# libpq's; `sslkey` and `passfile` are paths
_SECRET_OPTIONS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")

_WITHOUT_SLASHES = re.compile(rf"({'|'.join((*POSTGRES_SCHEMES, *OBJECT_SCHEMES))}):(?!//)", re.IGNORECASE)
_ODD_PORT = re.compile(r":[^:\]]*[^:\]0-9][^:\]]*\Z")


@dataclass(frozen=True, slots=True)
class Unshown(Problem):
    """A problem of a line that holds a secret: its place is told, the line itself is not repeated."""

    def at(self, position: Position, excerpt: str = "") -> Problem:
        """Return the same problem, placed, without the line."""
        del excerpt
        return replace(self, position=position)


def secret_in(key: str, instead: str) -> Problem:
    """Return the problem `secret-in-manifest` of the URL that stands at a key."""
    return Unshown(
        "secret-in-manifest",
        f"the URL of `{key}` holds credentials",
        why="manifests are shared and kept for ever; secrets never stand in them.",
        fix=instead,
    )


def has_credentials(url: str) -> bool:
    """Return whether something stands before the host of a URL, or may stand there."""
    # Looked at as text: an address too broken to be taken apart may hold a password all the same.
    return "@" in url.partition("://")[2].partition("/")[0] or ("://" not in url and "@" in url)


def is_store(state: str) -> bool:
    """Return whether a `state` names a store by its URL, or is meant to; otherwise it is a path."""
    return "://" in state or _WITHOUT_SLASHES.match(state) is not None


def bad_store(url: str) -> Problem | None:
    """Return what is wrong with the URL of a store of the state, as far as the URL alone tells."""
    if found := _WITHOUT_SLASHES.match(url):
        return Unshown(
            "state-url",
            f'the URL of `state` begins with "{found[1]}:" and not with "{found[1]}://"',
            why="taken for a path it would be a state that nobody else sees.",
            fix="write both slashes.",
        )
    scheme, _, rest = url.partition("://")
    postgres = scheme in POSTGRES_SCHEMES
    options = [key for key, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True)]
    # A user alone is no secret to PostgreSQL. A password that is not quoted may hold any sign, so all is looked at.
    before = rest.rpartition("@")[0]
    if ":" in before if postgres else before or has_credentials(url):
        return secret_in("state", _instead(postgres))
    if postgres and not {key.lower() for key in options}.isdisjoint(_SECRET_OPTIONS):
        return secret_in("state", _instead(postgres))
    if postgres:
        return _bad_port(rest)
    if scheme not in OBJECT_SCHEMES:
        known = (*POSTGRES_SCHEMES[:1], *OBJECT_SCHEMES)
        return (Unshown if options else Problem)(
            "state-store",
            f'there is no state store for "{scheme}://"',
            why="taken for a path it would make folders of that name, and a state that nobody else sees.",
            fix=did_you_mean(scheme, known)
            or "name a file below the project's folder, or a URL that begins with "
            f"{', '.join(f'{name}://' for name in known[:-1])} or {known[-1]}://.",
        )
    strange = sorted(set(options).difference(_OBJECT_OPTIONS))
    if strange:
        return Unshown(
            "state-url",
            f'the URL of `state` has the option "{strange[0]}", which no object store takes',
            why="were it a signature or a key, everybody who sees this file could use it.",
            fix=f"known are {', '.join(_OBJECT_OPTIONS)}; credentials belong in the environment.",
        )
    return None


def _bad_port(rest: str) -> Problem | None:
    hosts = re.split("[/?#]", rest)[0].rpartition("@")[2]
    if not any(_ODD_PORT.search(host) for host in hosts.split(",")):
        return None
    return Unshown(
        "state-url",
        "the URL of `state` has a port that is no number",
        why="it may as well be a password that lacks the host behind it, so it is not repeated.",
        fix="write postgresql://user@host:5432/database; give the password by PGPASSWORD or in ~/.pgpass.",
    )


def _instead(postgres: bool) -> str:
    if postgres:
        return "leave the password out, and give it by PGPASSWORD or in ~/.pgpass."
    return "leave them out: they come from the cloud's usual environment variables, or from the machine's identity."
