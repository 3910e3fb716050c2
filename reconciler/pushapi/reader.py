"""Reads what the remote made of our calls: items, permissions, identities, logs.

[io] The Push API answers no question, so this speaks to the platform's search, index, security cache
and log APIs (push-api.md 2.6). All replies are data of somebody else's: bounded, and taken apart
defensively.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import orjson

from reconciler.calls.wire import PERMISSION_TYPES
from reconciler.model.identity import Identity
from reconciler.pushapi.client import USER_AGENT
from reconciler.pushapi.failures import CallFailed, Effort, Failure, call_failed
from reconciler.pushapi.hosts import Hosts
from reconciler.pushapi.http import Network, Timeouts, with_query
from reconciler.pushapi.pace import Pace, Waiting
from reconciler.pushapi.retry import RetryPolicy
from reconciler.pushapi.session import Progress, Retried, Session

if TYPE_CHECKING:
    import httpx

Document = dict[str, Any]

URIS_PER_QUERY = 100
ENTRIES_PER_PAGE = 100
FIELDS_PER_PAGE = 500  # a reply is cut after 1 MiB
LOG_RANGE = timedelta(days=7)
"""The longest range of one log query (push-api.md 2.6)."""

# A reply of a search is cut after 1 MiB: whole results of long items would not fit a hundred at once.
_SEARCH_FIELDS = ("uri", "source", "permanentid", "title", "clickableuri", "topparentid")
_MAX_PAGES = 100_000
_ROWS = 200


class Reader:
    """The read side of one organization; a context manager. Raises CallFailed where a read fails."""

    def __init__(
        self,
        hosts: Hosts,
        organization: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        network: Network | None = None,
        timeouts: Timeouts | None = None,
        pace: Pace | None = None,
        waiting: Waiting | None = None,
        policy: RetryPolicy | None = None,
        user_agent: str = USER_AGENT,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._hosts = hosts
        self._organization = organization
        self._rest = f"{hosts.platform}/rest/organizations/{quote(organization, safe='')}"
        self._index: str | None = None
        self._session = Session(
            api_key,
            user_agent=user_agent,
            transport=transport,
            network=network,
            timeouts=timeouts,
            pace=pace,
            waiting=waiting,
            policy=policy,
            sleep=sleep,
            draw=draw,
            clock=clock,
            now=now,
        )

    def __repr__(self) -> str:
        return f"Reader({self._rest!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def find_items(
        self,
        source_id: str,
        uris: Iterable[str],
        *,
        fields: Sequence[str] = (),
        source_name: str | None = None,
    ) -> dict[str, Document]:
        """Return the fields of those items that the index holds, by uri; absent ones are left out.

        Only fields are visible, not unmapped metadata nor bodies. The field `source` holds the
        source's display name at the real remote, so give `source_name` when it is known; otherwise
        results of other sources are told apart by nothing but their uri. `fields` are asked for
        beside a few well-known ones.
        """
        wanted = list(dict.fromkeys(uris))
        found: dict[str, Document] = {}
        names = dict.fromkeys(filter(None, (source_name, source_id)))
        source = ",".join(map(_quoted, names))
        include = list(dict.fromkeys((*_SEARCH_FIELDS, *fields)))
        url = with_query(
            f"{self._hosts.platform}/rest/search/v2",
            (("organizationId", self._organization), ("viewAllContent", "1")),
        )
        for start in range(0, len(wanted), URIS_PER_QUERY):
            chunk = wanted[start : start + URIS_PER_QUERY]
            query = f"@source==({source}) @uri==({','.join(map(_quoted, chunk))})"
            asked = {
                "aq": query,
                "numberOfResults": len(chunk),
                "firstResult": 0,
                "fieldsToInclude": include,
                "pipeline": "",
            }
            reply = self._read("POST", url, asked)
            known = set(chunk)
            for result in _entries(reply, "results"):
                document = _found(result)
                if document and document["uri"] in known:
                    found[document["uri"]] = document
        return found

    def source_items(self, source_id: str, *, source_name: str | None = None) -> Iterator[Document]:
        """Yield the fields of every item of a source that a search shows, as `find_items` has them.

        A search pages only so far (push-api.md 2.6), so this goes by ranges of the row; what is pushed meanwhile
        may come or not, and what is pushed again may come twice.
        """
        names = ",".join(map(_quoted, dict.fromkeys(filter(None, (source_name, source_id)))))
        url = with_query(
            f"{self._hosts.platform}/rest/search/v2",
            (("organizationId", self._organization), ("viewAllContent", "1")),
        )
        last, size = -1, _ROWS
        for _ in range(_MAX_PAGES):
            asked = {
                "aq": f"@source==({names}) @rowid>{last}",
                "numberOfResults": size,
                "firstResult": 0,
                "fieldsToInclude": [*_SEARCH_FIELDS, "rowid"],
                "sortCriteria": "@rowid ascending",
                "pipeline": "",
            }
            try:
                reply = self._read("POST", url, asked)
            except CallFailed as error:
                # A reply with many long titles may have been cut: fewer of them fit.
                if size == 1 or error.problems[0].code != "bad-reply":
                    raise
                size //= 2
                continue
            results = _entries(reply, "results")
            found = [document for result in results if (document := _found(result))]
            yield from found
            rows = [row for document in found if isinstance(row := document.get("rowid"), int) and row > last]
            left = reply.get("totalCount")
            if not results or (left <= len(results) if isinstance(left, int) else len(results) < size):
                return
            if not rows:
                raise self._unreadable("POST", url)
            last = max(rows)
        raise self._unreadable("POST", url)

    def source(self, source_id: str) -> Document:
        """Return a source's summary: its name, visibility, counts, which lag behind (push-api.md 2.6)."""
        return self._object("GET", f"{self._rest}/sources/{quote(source_id, safe='')}")

    def fields(self) -> Iterator[Document]:
        """Yield the FieldModel of every field of the organization (push-api.md 2.6)."""
        url = f"{self._rest}/indexes/fields/search"
        before: list[Document] = []
        for page in range(_MAX_PAGES):
            # This one call wants the page in its body.
            reply = self._read("POST", url, {"page": page, "perPage": FIELDS_PER_PAGE})
            entries = _entries(reply, "items")
            self._refuse_same(before, entries, "POST", url)
            before = entries
            yield from entries
            if not entries or not _goes_on(reply, page, len(entries), FIELDS_PER_PAGE):
                return

    def mappings(self, source_id: str) -> Document:
        """Return a source's mapping rules, `common` and by item type (push-api.md 2.6)."""
        return self._object("GET", f"{self._rest}/sources/{quote(source_id, safe='')}/mappings")

    def item_permissions(self, uri: str) -> Document:
        """Return an item's permission model as the index holds it, with its `state` (push-api.md 3.6)."""
        return self._object("GET", f"{self._document(uri)}/permissions")

    def effective_permissions(self, uri: str) -> Iterator[Document]:
        """Yield the entries of an item's effective permissions."""
        yield from self._pages("GET", f"{self._document(uri)}/permissions/effective", None, "perPage")

    def provider(self, provider_id: str) -> Document:
        """Return a security identity provider's settings (push-api.md 2.4)."""
        return self._object("GET", f"{self._rest}/securityproviders/{quote(provider_id, safe='')}")

    def identity(self, provider_id: str, identity: Identity) -> Document:
        """Return what the security cache holds of one identity; a 404 says that it holds nothing."""
        return self._read("POST", f"{self._entities(provider_id)}/entity", _member(provider_id, identity))

    def provider_members(self, provider_id: str) -> Iterator[Document]:
        """Yield every identity that the security cache holds of a provider, with its state."""
        yield from self._pages("GET", f"{self._entities(provider_id)}/members", None, "perPage")

    def group_members(self, provider_id: str, group: Identity) -> Iterator[Document]:
        """Yield the direct members of a group, as the security cache knows them."""
        url = f"{self._entities(provider_id)}/members/children"
        # This one call says pageSize where the others say perPage (push-api.md 2.6).
        yield from self._pages("POST", url, _member(provider_id, group), "pageSize", (("recursive", "false"),))

    def identity_parents(self, provider_id: str, identity: Identity) -> Iterator[Document]:
        """Yield the groups of an identity; its aliases too, if they are kept as relations there."""
        url = f"{self._entities(provider_id)}/members/parents"
        yield from self._pages("POST", url, _member(provider_id, identity), "pageSize", (("recursive", "false"),))

    def logs(self, source_ids: Sequence[str], since: datetime, until: datetime) -> Iterator[Document]:
        """Yield the log entries of these sources, in ranges of at most a week (push-api.md 2.6).

        Entries of other sources are dropped here too, since the filter's key is documented in two
        spellings. Both times need a zone.
        """
        url = f"{self._hosts.logs}/organizations/{quote(self._organization, safe='')}"
        body = {"sourcesIds": list(source_ids), "sourceIds": list(source_ids)}
        wanted = set(source_ids)
        start = since
        while start < until:
            end = min(start + LOG_RANGE, until)
            span = (("from", _moment(start)), ("to", _moment(end)))
            before: list[Document] = []
            for page in range(_MAX_PAGES):
                pairs = (*span, ("page", str(page)), ("perPage", str(ENTRIES_PER_PAGE)))
                reply = self._read("POST", with_query(url, pairs), body)
                entries = _entries(reply, "documentLogEntries")
                self._refuse_same(before, entries, "POST", url)
                before = entries
                for entry in entries:
                    source = entry.get("sourceId")
                    if isinstance(source, str) and source in wanted:
                        yield entry
                if not entries or not reply.get("hasNextPage"):
                    break
            start = end

    def refresh(self, provider_id: str, retried: Retried | None = None) -> None:
        """Ask the security cache to look at a provider again now (push-api.md 7 no. 22).

        `retried` hears of each retry before it is waited for.
        """
        self._call("POST", f"{self._rest}/securitycache/{quote(provider_id, safe='')}/refresh", None, retried)

    def _document(self, uri: str) -> str:
        # Encoded twice, as the official client does (push-api.md 2.6).
        once = quote(uri, safe="")
        return f"{self._rest}/indexes/{quote(self._index_id(), safe='')}/documents/{quote(once, safe='')}"

    def _entities(self, provider_id: str) -> str:
        return f"{self._rest}/securitycache/entities/{quote(provider_id, safe='')}"

    def _index_id(self) -> str:
        if self._index is None:
            url = f"{self._rest}/indexes"
            value = self._call("GET", url, None)
            listed = value if isinstance(value, list) else _entries(value, "items")
            ids = [entry["id"] for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
            if not ids:
                raise self._unreadable("GET", url)
            self._index = ids[0]
        return self._index

    def _pages(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        size: str,
        query: tuple[tuple[str, str], ...] = (),
    ) -> Iterator[Document]:
        before: list[Document] = []
        for page in range(_MAX_PAGES):
            pairs = (*query, ("page", str(page)), (size, str(ENTRIES_PER_PAGE)))
            reply = self._read(method, with_query(url, pairs), body)
            entries = _entries(reply, "items")
            self._refuse_same(before, entries, method, url)
            before = entries
            yield from entries
            if not entries or not _goes_on(reply, page, len(entries), ENTRIES_PER_PAGE):
                return

    def _refuse_same(self, before: list[Document], entries: list[Document], method: str, url: str) -> None:
        """Raise CallFailed for a page that is the one before once more: a remote that knows no pages never ends."""
        if entries and entries == before:
            raise self._unreadable(method, url)

    def _object(self, method: str, url: str) -> Document:
        return self._read(method, url, None)

    def _read(self, method: str, url: str, body: Mapping[str, Any] | None) -> Document:
        value = self._call(method, url, body)
        if not isinstance(value, dict):
            raise self._unreadable(method, url)
        return value

    def _call(self, method: str, url: str, body: Mapping[str, Any] | None, retried: Retried | None = None) -> Any:
        progress = Progress(f"{method} {url.partition('?')[0]}")
        content = orjson.dumps(body) if body is not None else None
        reply = self._session.run(
            lambda: self._session.exchange(progress, "read", method, url, content), progress, retried
        )
        return reply.json()

    def _unreadable(self, method: str, url: str) -> Exception:
        return call_failed(
            Failure("read", "bad-reply", message="the answer is not what the documents describe"),
            where=f"{method} {url.partition('?')[0]}",
            outcome="refused",
            effort=Effort(),
        )


def _quoted(text: str) -> str:
    # The query language has no escape for a double quote; the documents want it encoded in a uri.
    return '"' + text.replace('"', " ") + '"'


def _found(result: Document) -> Document:
    """Return the fields of a search result with its `uri`; nothing for one that has none."""
    raw = result.get("raw")
    document = dict(raw) if isinstance(raw, dict) else {}
    if isinstance(result.get("uniqueId"), str):
        # The index's own name of the item: a uri may be in several sources.
        document["uniqueId"] = result["uniqueId"]
    uri = document.get("uri") or result.get("uri")
    return {**document, "uri": uri} if isinstance(uri, str) else {}


def _entries(value: Any, key: str) -> list[Document]:
    listed = value.get(key) if isinstance(value, dict) else None
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def _goes_on(reply: Document, page: int, count: int, size: int) -> bool:
    """Return whether there is a page after this one: a short page ends what does not say how many there are."""
    pages = reply.get("totalPages")
    return page + 1 < pages if isinstance(pages, int) else count >= size


def _member(provider_id: str, identity: Identity) -> Document:
    """Return the security cache's model of an identity; types are spelled as in permissions there."""
    infos = [{"key": key, "value": value} for key, value in identity.info]
    return {
        "name": identity.name,
        "provider": provider_id,
        "type": PERMISSION_TYPES[identity.type],
        "infos": infos,
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
