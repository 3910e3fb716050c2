"""Security identities: the rules by which accepted operations change them, and the graph they make up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from reconciler.emulator.access import Directory, Graph, Record, Who
from reconciler.emulator.database import Database, Operation
from reconciler.emulator.options import EMAIL_PROVIDER, EmulatorOptions, ProviderOptions
from reconciler.emulator.wire import BadJson, Identity, IdentityBody


class IdentityRow(NamedTuple):
    """A stored identity; the lists are JSON of [provider, type, name, info]."""

    id: int
    place: int
    key: str
    name: str
    type: str
    info: str
    members: str
    mappings: str
    well_knowns: str
    members_ordering: str
    mappings_ordering: str
    disabled: int
    updated: float


Listed = list[Any]
"""An identity inside a list: provider, type, name as sent, additional information."""

IDENTITY_COLUMNS = ", ".join(IdentityRow._fields)
_ALL_BUT_DATE = ", ".join(name for name in IdentityRow._fields if name != "updated")
_WRITTEN = IdentityRow._fields[1:]
_UPSERT = (
    f"INSERT INTO identities ({', '.join(_WRITTEN)}) VALUES ({', '.join('?' * len(_WRITTEN))})"  # noqa: S608
    f" ON CONFLICT (place, key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _WRITTEN)}"
)


class IdentityTable:
    """The identities of all providers of one emulator."""

    def __init__(self, options: EmulatorOptions, database: Database) -> None:
        self._options = options
        self._database = database
        self._connection = database.connection
        self._providers: dict[str, dict[str, ProviderOptions]] = {}
        self._directories: dict[str, Directory] = {}
        self._places: dict[int, tuple[str, str]] = {}
        self._graphs: dict[str, Graph] = {}
        self._spellings: dict[str, Mapping[Who, tuple[str, float | None]]] = {}

    def know(self, organization: str, providers: Iterable[ProviderOptions]) -> None:
        """Learn the providers of an organization, and thereby how each of them spells names."""
        known = self._providers[organization] = {entry.id: entry for entry in providers}
        self._directories[organization] = Directory({entry.id: entry.case_sensitive for entry in known.values()})
        self.forget()

    def directory_of(self, organization: str) -> Directory:
        """Return how an organization spells identities."""
        return self._directories[organization]

    def _directory(self, place: int) -> Directory:
        return self._directories[self._places[place][0]]

    def cascades(self, organization: str, provider: str) -> tuple[str, ...]:
        """Return the providers that the aliases of a provider may name (push-api.md 3.5)."""
        return self._providers[organization].get(provider, ProviderOptions(provider)).cascades_to

    def check_mappings(self, place: int, mappings: Iterable[Identity]) -> None:
        """Refuse aliases that do not say in which provider they are, or that cannot be there (push-api.md 3.5)."""
        cascades = self.cascades(*self._places[place])
        for mapped in mappings:
            if mapped.provider is None:
                if len(cascades) > 1:
                    raise BadJson("'provider' is missing in a mapping.")
            elif mapped.provider not in cascades and self._options.doubts.uncascaded_alias == "refuse":
                raise BadJson(f"The provider does not cascade to '{mapped.provider[:100]}'.")

    def respell(self, place: int, provider: str) -> None:
        """Give the identities of a provider the keys that its spelling asks for; of two that are now one, the
        later stays.
        """
        for row in sorted(self.rows(place), key=lambda row: row.updated):
            identity = Identity(row.name, row.type, tuple(orjson.loads(row.info).items()))
            for table in ("identities", "cached"):
                self._connection.execute(
                    f"UPDATE OR REPLACE {table} SET key = ? WHERE place = ? AND key = ?",  # noqa: S608
                    (self._key(place, provider, identity), place, row.key),
                )
        self.forget()

    def drop(self, place: int) -> None:
        """Forget a provider and its identities."""
        for table in ("identities", "cached", "tombstones", "refreshed"):
            self._connection.execute(f"DELETE FROM {table} WHERE place = ?", (place,))  # noqa: S608
        self._connection.execute("UPDATE places SET watermark = '' WHERE id = ?", (place,))
        self._places.pop(place, None)
        self.forget()

    def place(self, organization: str, provider: str) -> int:
        """Return the number of a provider of an organization."""
        place = self._database.place(organization, "provider", provider)
        self._places[place] = (organization, provider)
        return place

    def forget(self) -> None:
        """Drop what was derived from the rows."""
        self._graphs.clear()
        self._spellings.clear()

    # Processing

    def put(self, operation: Operation, provider: str, body: IdentityBody, mapping: bool) -> str | None:
        """Overwrite the members or the mappings of an identity and its well-knowns (push-api.md 5.3).

        Returns why the operation is refused, or None. Raises BadJson for mappings that cannot be.
        """
        key = self._key(operation.place, provider, body.identity)
        row = self._row(operation.place, key)
        if row:
            stored = row.mappings_ordering if mapping else row.members_ordering
        else:
            stored = self._deleted(operation.place, key)
        refused = self._refused(operation, stored)
        if refused:
            return refused
        place = operation.place
        listed = self._listed(provider, body.members)
        if mapping:
            self.check_mappings(place, body.mappings)
            listed = self._listed(self._mapped_to(place), body.mappings)
            if row and not body.mappings and self._options.doubts.empty_mappings == "keep":
                listed = row.mappings
        well_knowns = self._listed(provider, body.well_knowns)
        if row and operation.ordering < max(row.members_ordering, row.mappings_ordering):
            # What was granted belongs to both calls (push-api.md 5.3), so the later of them stays.
            well_knowns = row.well_knowns
        info = orjson.dumps(dict(body.identity.info)).decode()
        new = IdentityRow(0, place, key, "", body.identity.type, info, "[]", "[]", "[]", "", "", 0, 0.0)
        changed = (row or new)._replace(
            name=body.identity.name,
            well_knowns=well_knowns,
            disabled=row.disabled if row and self._options.doubts.repushed_identity == "disabled" else 0,
            updated=operation.due,
        )
        if mapping:
            self._write(changed._replace(mappings=listed, mappings_ordering=operation.ordering))
        else:
            self._write(changed._replace(members=listed, members_ordering=operation.ordering))
        return None

    def _write(self, row: IdentityRow) -> None:
        """Store an identity under its key, whatever number `row` has."""
        self._connection.execute(_UPSERT, row[1:])
        self._connection.execute("DELETE FROM tombstones WHERE place = ? AND uri = ?", (row.place, row.key))
        self.forget()

    def _deleted(self, place: int, key: str) -> str:
        """Return the ordering id of the deletion of an identity that was never there, or ''."""
        row = self._connection.execute(
            "SELECT ordering FROM tombstones WHERE place = ? AND uri = ?", (place, key)
        ).fetchone()
        return row[0] if row else ""

    def disable(self, operation: Operation, provider: str, identity: Identity) -> str | None:
        """Disable an identity: it stays listed (push-api.md 5.3). Returns why that is refused, or None."""
        key = self._key(operation.place, provider, identity)
        row = self._row(operation.place, key)
        if row is None:
            # A late older push must not bring back what was deleted (push-api.md 9).
            self._connection.execute(
                "INSERT INTO tombstones VALUES (?, ?, ?)"
                " ON CONFLICT (place, uri) DO UPDATE SET ordering = max(ordering, excluded.ordering)",
                (operation.place, key, operation.ordering),
            )
            return "there is no such identity"
        refused = self._refused(operation, max(row.members_ordering, row.mappings_ordering))
        if refused:
            return refused
        self._connection.execute(
            "UPDATE identities SET disabled = 1, members_ordering = ?, mappings_ordering = ?, updated = ? WHERE id = ?",
            (operation.ordering, operation.ordering, operation.due, row.id),
        )
        self.forget()
        return None

    def disable_older_than(self, operation: Operation) -> int:
        """Disable what was last pushed strictly before the operation's value; returns how many."""
        self._database.raise_watermark(operation.place, operation.ordering)
        cursor = self._connection.execute(
            "UPDATE identities SET disabled = 1, updated = ? WHERE place = ? AND disabled = 0"
            " AND max(members_ordering, mappings_ordering) < ?",
            (operation.due, operation.place, operation.ordering),
        )
        self.forget()
        return cursor.rowcount

    def enable_all(self, place: int) -> None:
        """Take back every disabling in a provider (push-api.md 2.6)."""
        for table in ("identities", "cached"):
            self._connection.execute(f"UPDATE {table} SET disabled = 0 WHERE place = ?", (place,))  # noqa: S608
        self.forget()

    # The security cache

    def refresh(self, place: int, provider: str, at: float, identity: Identity | None = None) -> None:
        """Bring the cache up to what was pushed for a provider, or for one identity of it (push-api.md 2.6).

        `at` is when that was: each identity that the refresh looked at was last updated then.
        """
        where = "place = ?"
        values: list[object] = [place]
        if identity is not None:
            where += " AND key = ?"
            values.append(self._key(place, provider, identity))
        self._connection.execute(f"DELETE FROM cached WHERE {where}", values)  # noqa: S608
        self._connection.execute(
            f"INSERT INTO cached SELECT {_ALL_BUT_DATE}, ? FROM identities WHERE {where}",  # noqa: S608
            (at, *values),
        )
        if identity is None:
            self._note_refresh(place, at)
        self.forget()

    def followed(self, place: int, at: float) -> None:
        """Take note that something of a provider was processed: a cache that follows at once is refreshed by that."""
        if self._options.doubts.cache_view == "immediate":
            self._note_refresh(place, at)
            self.forget()

    def _note_refresh(self, place: int, at: float) -> None:
        self._connection.execute(
            "INSERT INTO refreshed VALUES (?, ?) ON CONFLICT (place) DO UPDATE SET at = max(at, excluded.at)",
            (place, at),
        )

    def refreshed(self, place: int) -> float:
        """Return when the cache was last brought up to date for a whole provider; below all times for never."""
        row = self._connection.execute("SELECT at FROM refreshed WHERE place = ?", (place,)).fetchone()
        return float(row[0]) if row else float("-inf")

    def cached(self, place: int) -> list[IdentityRow]:
        """Return the identities of a provider as the security cache has them, each with the date of its last update
        there (push-api.md 2.6, 5.1).
        """
        if self._options.doubts.cache_view == "immediate":
            at = self.refreshed(place)
            return [row._replace(updated=max(row.updated, at)) for row in self.rows(place)]
        rows = self._connection.execute(
            f"SELECT {IDENTITY_COLUMNS} FROM cached WHERE place = ? ORDER BY type, name, id",  # noqa: S608
            (place,),
        )
        return [IdentityRow._make(row) for row in rows]

    def _refused(self, operation: Operation, stored: str) -> str | None:
        watermark = self._database.watermark(operation.place)
        if operation.ordering < watermark:
            return f"the ordering id is lower than the provider's watermark {int(watermark)}"
        equal = operation.assigned or self._options.doubts.equal_ordering_id == "accept"
        if operation.ordering < stored or (operation.ordering == stored and not equal):
            return f"the ordering id is not higher than the stored {int(stored)}"
        return None

    def _mapped_to(self, place: int) -> str:
        """Return the provider of a mapping that names none: the one there is to choose from (push-api.md 3.5)."""
        return (*self.cascades(*self._places[place]), EMAIL_PROVIDER)[0]

    def _listed(self, default: str, identities: tuple[Identity, ...]) -> str:
        return orjson.dumps(
            [(entry.provider or default, entry.type, entry.name, dict(entry.info)) for entry in identities]
        ).decode()

    # Reading

    def _key(self, place: int, provider: str, identity: Identity) -> str:
        who = self._directory(place).who(provider, identity.type, identity.name, identity.info)
        return orjson.dumps((who.type, who.name, who.info)).decode()

    def _row(self, place: int, key: str) -> IdentityRow | None:
        row = self._connection.execute(
            f"SELECT {IDENTITY_COLUMNS} FROM identities WHERE place = ? AND key = ?",  # noqa: S608
            (place, key),
        ).fetchone()
        return IdentityRow._make(row) if row else None

    def rows(self, place: int) -> list[IdentityRow]:
        """Return the pushed identities of a provider by type and name."""
        rows = self._connection.execute(
            f"SELECT {IDENTITY_COLUMNS} FROM identities WHERE place = ? ORDER BY type, name, id",  # noqa: S608
            (place,),
        )
        return [IdentityRow._make(row) for row in rows]

    def known(self, who: Who) -> bool:
        """Return whether an identity was pushed in any organization, or needs no push."""
        if who.provider == EMAIL_PROVIDER:
            return True
        key = orjson.dumps((who.type, who.name, who.info)).decode()
        rows = self._connection.execute(
            "SELECT place FROM identities WHERE key = ? AND disabled = 0", (key,)
        ).fetchall()
        return any(self._places.get(row[0], ("", ""))[1] == who.provider for row in rows)

    def graph(self, organization: str) -> Graph:
        """Return the edges of all identities of an organization."""
        graph = self._graphs.get(organization)
        if graph is None:
            records: list[Record] = []
            for place, (owner, provider) in self._places.items():
                if owner == organization:
                    directory = self._directories[owner]
                    cascades = self.cascades(owner, provider)
                    records.extend(_record(directory, provider, row, cascades) for row in self.cached(place))
            graph = self._graphs[organization] = Graph(records)
        return graph

    def spellings(self, organization: str) -> Mapping[Who, tuple[str, float | None]]:
        """Return every identity that the cache of an organization lists, in order, each with the name that it was
        pushed under and the date of its last update; None for one that others name and nobody pushed.
        """
        found = self._spellings.get(organization)
        if found is None:
            names: dict[Who, tuple[str, float | None]] = {}
            directory = self._directories[organization]
            for place, (owner, provider) in self._places.items():
                if owner == organization:
                    for row in self.cached(place):
                        for listed in (row.members, row.mappings, row.well_knowns):
                            for named, kind, name, info in orjson.loads(listed):
                                names.setdefault(directory.who(named, kind, name, info.items()), (name, None))
                        who = directory.who(provider, row.type, row.name, orjson.loads(row.info).items())
                        names[who] = (row.name, row.updated)
            found = self._spellings[organization] = dict(sorted(names.items()))
        return found


def _record(directory: Directory, provider: str, row: IdentityRow, cascades: tuple[str, ...]) -> Record:
    """Return what a row says; an alias where its provider does not cascade to leads nowhere (push-api.md 7, 18)."""
    who = directory.who(provider, row.type, row.name, orjson.loads(row.info).items())
    return Record(
        who,
        _whos(directory, row.members),
        _whos(directory, row.well_knowns),
        tuple(mapped for mapped in _whos(directory, row.mappings) if mapped.provider in cascades),
        bool(row.disabled),
        row.updated,
    )


def _whos(directory: Directory, listed: str) -> tuple[Who, ...]:
    return tuple(
        directory.who(provider, kind, name, info.items()) for provider, kind, name, info in orjson.loads(listed)
    )
