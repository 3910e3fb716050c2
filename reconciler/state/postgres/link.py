"""[io] Connections to PostgreSQL: where a state's URL leads, and a session there that speaks `state.sql.Sql`.

Beside what libpq understands a URL may name a schema: `postgresql://host/database?schema=search`. No password that it
holds is ever shown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg import conninfo

from reconciler.problems import Problem, StateError
from reconciler.state.packing import LARGEST
from reconciler.state.postgres.schema import FORMAT_VERSION
from reconciler.state.sql.connection import Rows

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
LOCK_SECONDS = 30  # how long a statement waits for a table or a row that somebody else has locked
SILENT_SECONDS = 120.0  # after which a server is given up that keeps a connection open and does not answer


@dataclass(frozen=True, slots=True)
class Place:
    """Where a state is: what libpq needs, the schema, and the URL as it may be shown."""

    parameters: tuple[tuple[str, str], ...] = field(repr=False)  # the password may be among them
    schema: str
    shown: str


def place_of(url: str) -> Place:
    """Return where a `postgresql://` URL leads. Raises StateError `state-url` when it leads nowhere."""
    rest_of_url = url.partition("://")[2]
    after_host = rest_of_url[len(re.split("[/?#]", rest_of_url)[0]) :]
    if "#" in url or "@" in after_host:
        # Some of it is a password that ended too early, so nothing of it is shown.
        raise _bad_url(
            "postgresql://",
            "a character stands in it that ends the name or password of the user",
            "write it as %23 for #, %2F for /, %3F for ?, %40 for @.",
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _bad_url("postgresql://", "that is no URL", _FORM) from None
    query = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(query).get("schema", DEFAULT_SCHEMA)
    rest = [(key, value) for key, value in query if key != "schema"]
    host = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    shown = f"postgresql://{user + '@' if user else ''}{host}{parts.path}?schema={quote(schema)}"
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise _bad_url(shown, f'"{schema}" is no name for a schema', "use lower-case letters, digits and underscores.")
    try:
        known = conninfo.conninfo_to_dict(f"postgresql://{parts.netloc}{parts.path}?{urlencode(rest)}")
    except psycopg.Error:
        # What libpq says may repeat the URL with all that is in it.
        raise _bad_url(shown, "libpq does not understand it", _FORM) from None
    known.setdefault("application_name", "reconciler")
    merged = {**PATIENCE, **{key: str(value) for key, value in known.items() if value is not None}}
    return Place(tuple(sorted(merged.items())), schema, shown)


_FORM = "write postgresql://user@host:port/database?schema=name."


def _bad_url(shown: str, what: str, fix: str) -> StateError:
    return StateError(Problem(code="state-url", what=f'"{shown}": {what}', fix=fix, where=shown))


class _Connection(psycopg.Connection[Any]):
    """A connection that ends when the server is silent for too long, as that of a paused process is.

    The operating system of such a server goes on to confirm what it receives, so no timeout of TCP notices.
    """

    silent_seconds = SILENT_SECONDS

    def wait(self, gen: Generator[Any, Any, Any], *given: Any, **named: Any) -> Any:
        """Wait as ever, but not without end."""
        return super().wait(self._listened_to(gen), *given, **named)

    def _listened_to(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.silent_seconds:
                    self.close()
                    raise psycopg.OperationalError(f"the server was silent for {self.silent_seconds:.0f} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value


class Link:
    """One session; fulfils `state.sql.Sql`. Statements that name tables stand in a transaction (`begin`).

    Nothing is set for the session, only for each transaction: behind a connection pool the next one may come to
    another session, and this one to another client.
    """

    readable = LARGEST  # PostgreSQL compresses long cells by itself
    format_version = FORMAT_VERSION

    def __init__(self, place: Place, *, silent_seconds: float = SILENT_SECONDS) -> None:
        self._schema = place.schema
        given = {**dict(place.parameters), "client_encoding": "UTF8"}
        try:
            self._raw = _Connection.connect(**cast("dict[str, Any]", given), autocommit=True)
        except UnicodeError:
            raise psycopg.OperationalError("no host can have that name") from None
        self._raw.silent_seconds = silent_seconds
        try:
            row = self._raw.execute("SELECT pg_backend_pid()").fetchone()
        except BaseException:
            self._raw.close()
            raise
        # A pool answers for its sessions with a number of its own.
        self.pooled = row is None or row[0] != self._raw.info.backend_pid
        if self.pooled:
            self._raw.prepare_threshold = None

    def begin(self, *, idle_seconds: float | None) -> None:
        """Open a transaction that writes and that the server undoes if it is left alone for so long; None: one to read.

        A role may have been given other limits. One that reads is in nobody's way, so it may take its time.
        """
        idle = 0 if idle_seconds is None else int(max(1.0, idle_seconds) * 1000)
        kind = "ISOLATION LEVEL REPEATABLE READ READ ONLY" if idle_seconds is None else "ISOLATION LEVEL READ COMMITTED"
        self._raw.execute(
            f"BEGIN {kind}; "
            f'SET LOCAL search_path TO "{self._schema}"; '
            f"SET LOCAL idle_in_transaction_session_timeout TO {idle}; "
            f"SET LOCAL lock_timeout TO '{LOCK_SECONDS}s'; "
            # What is recorded must be on stable storage before the next call is sent.
            "SELECT CASE current_setting('synchronous_commit') "
            "WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END".encode()
        )

    @property
    def broken(self) -> bool:
        """Whether the session is over."""
        return self._raw.closed

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open and its session is not over."""
        status = psycopg.pq.TransactionStatus
        return self._raw.info.transaction_status not in (status.IDLE, status.UNKNOWN)

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
