"""[io] Connections to PostgreSQL: where a state's URL leads, and a session there that speaks `state.sql.Sql`.

Beside what libpq understands a URL may name a schema: `postgresql://host/database?schema=search`. No password that it
holds is ever shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg import conninfo
from psycopg.sql import SQL, Identifier

from reconciler.problems import Problem, StateError
from reconciler.state.packing import LARGEST
from reconciler.state.postgres_schema import FORMAT_VERSION
from reconciler.state.sql import Rows

DEFAULT_SCHEMA = "reconciler"
# A dead network is noticed in about half a minute instead of in two hours; what the URL says goes before.
PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a state is: what libpq needs, the schema, and the URL as it may be shown."""

    parameters: tuple[tuple[str, str], ...]
    schema: str
    shown: str


def place_of(url: str) -> Place:
    """Return where a `postgresql://` URL leads. Raises StateError `state-url` when it leads nowhere."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(query).get("schema", DEFAULT_SCHEMA)
    rest = [(key, value) for key, value in query if key != "schema"]
    host = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    shown = f"postgresql://{user + '@' if user else ''}{host}{parts.path}?schema={quote(schema)}"
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise _bad_url(shown, f'"{schema}" is no name for a schema', "use lower-case letters, digits and underscores.")
    try:
        known = conninfo.conninfo_to_dict(parts._replace(scheme="postgresql", query=urlencode(rest)).geturl())
    except psycopg.Error:
        # What libpq says may repeat the URL with all that is in it.
        raise _bad_url(
            shown, "libpq does not understand it", "write postgresql://user@host:port/database?schema=name."
        ) from None
    known.setdefault("application_name", "reconciler")
    merged = {**PATIENCE, **{key: str(value) for key, value in known.items() if value is not None}}
    return Place(tuple(sorted(merged.items())), schema, shown)


def _bad_url(shown: str, what: str, fix: str) -> StateError:
    return StateError(Problem(code="state-url", what=f'"{shown}": {what}', fix=fix, where=shown))


class Link:
    """One session; fulfils `state.sql.Sql`. Statements stand alone unless `begin` opened a transaction."""

    readable = LARGEST  # PostgreSQL compresses long cells by itself
    format_version = FORMAT_VERSION

    def __init__(self, place: Place, *, idle_seconds: float) -> None:
        """Connect; a transaction that is left alone for `idle_seconds` is undone by the server."""
        self._raw = psycopg.connect(**cast("dict[str, Any]", dict(place.parameters)), autocommit=True)
        try:
            self._raw.execute("SET client_encoding TO 'UTF8'")
            self._raw.execute(SQL("SET search_path TO {}").format(Identifier(place.schema)))
            # What is recorded must be on stable storage before the next call is sent.
            self._raw.execute(
                "SELECT CASE current_setting('synchronous_commit') "
                "WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END"
            )
            # Whoever is paused in a transaction must not hold up the one that took over.
            self._raw.execute(
                SQL("SET idle_in_transaction_session_timeout TO {}").format(int(max(1.0, idle_seconds) * 1000))
            )
        except BaseException:
            self._raw.close()
            raise

    @property
    def broken(self) -> bool:
        """Whether the session is over."""
        return self._raw.closed

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._raw.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Rows:
        """Run a statement with `?` for each value."""
        return self._raw.execute(_marked(query), [_clean(value) for value in values] or None, binary=True)

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> Rows:
        """Run a statement for each of the rows."""
        cursor = self._raw.cursor(binary=True)
        cursor.executemany(_marked(query), ([_clean(value) for value in row] for row in rows))
        return cursor

    def close(self) -> None:
        """End the session."""
        self._raw.close()


@lru_cache(maxsize=256)
def _marked(query: str) -> bytes:
    return query.replace("%", "%%").replace("?", "%s").encode()


def _clean(value: Any) -> Any:
    # The one character that PostgreSQL keeps in no text; only what a remote replied could hold it.
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) and "\0" in value else value
