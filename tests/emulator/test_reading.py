"""The read side: search, permissions, the security cache, logs, sources (push-api.md 2.6)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from reconciler.emulator.options import Doubts
from reconciler.emulator.query import BadQuery, compile_order, compile_query
from tests.emulator.conftest import EMAIL, ORGANIZATION, PROVIDER, READABLE, SOURCE, Remote, Start
from tests.emulator.test_seeds import play_usage_example

EXAMPLE = "file://folder/mytext.txt"
FIRST_PAGE = {"page": "0", "perPage": "100"}


@pytest.fixture
def filled(remote: Remote) -> Remote:
    for number in range(5):
        body = {"title": f"Item {number}", "tags": ["red", str(number)], "rank": number, "permissions": READABLE}
        remote.put(f"http://x/{number}", body)
    remote.put("http://shared", {"title": "Shared", "flag": True, "bad key": "x"}, path=remote.shared)
    return remote


class TestSearch:
    @pytest.mark.parametrize(
        ("query", "numbers"),
        [
            ("@uri==http://x/1", "1"),
            ('@uri=="http://x/1"', "1"),
            ('@uri==("http://x/1","http://x/3", "http://nobody")', "13"),
            ('@uri==("http://x/1","http://x/3") @source=="nothing"', ""),
            (f'@source=="{SOURCE}" AND @uri=="http://x/2"', "2"),
            (f"@syssource=={SOURCE} @rank>=3", "34"),
            ('@uri=="http://x/0" OR @uri=="http://x/4"', "04"),
            ('(@uri=="http://x/0" OR @uri=="http://x/4") @rank<2', "0"),
            ('@tags=="RED" @rank<>0 NOT @rank=3', "124"),
            ('@tags==("0","2")', "02"),
            ("@rowid>2 @rowid<=4", "23"),
            ('@permanentid=="nope"', ""),
            ("@nosuchfield", ""),
            ('@title="Item 2"', "2"),
            ("@title=item", "01234"),
            ('@title=="item"', ""),
            ("@title=(4, nothing)", "4"),
            ("@rank==1..3", "123"),
            ("@rank=3..9", "34"),
            ("@rank @rank<>(1, 2)", "034"),
            ('@title=="Item 1..3"', ""),
            ("NOT (@rank==0 OR @rank==1) @rank<=3", "23"),
        ],
    )
    def test_queries(self, filled: Remote, query: str, numbers: str) -> None:
        assert filled.uris(query) == [f"http://x/{number}" for number in numbers]

    @pytest.mark.parametrize(
        "query",
        [
            "@uri==",
            "(",
            "@uri==(",
            '@uri==("a"',
            "@uri==()",
            "AND",
            "NOT",
            "@a ==== b",
            '"',
            "(" * 100,
            "@a<(1,2)",
            ")",
        ],
    )
    def test_what_cannot_be_read(self, filled: Remote, query: str) -> None:
        with pytest.raises(BadQuery):
            compile_query(query, {})
        path = f"/rest/search/v2?organizationId={ORGANIZATION}"
        answer = filled.client.post(path, json={"aq": query})
        assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_QUERY")

    def test_values_never_become_sql(self, filled: Remote) -> None:
        assert filled.uris("""@uri=="x' OR 1=1 --" """) == []
        with pytest.raises(BadQuery):
            compile_order("@row); DROP TABLE items")

    def test_results(self, filled: Remote) -> None:
        (result,) = filled.search('@uri=="http://x/3"')["results"]
        assert result["raw"]["tags"] == ["red", "3"]
        assert (result["raw"]["rank"], result["raw"]["source"], result["raw"]["uri"]) == (3, SOURCE, "http://x/3")
        assert len(result["raw"]["permanentid"]) == 60
        assert result["uniqueId"].endswith("http://x/3")
        (shared,) = filled.search("@source==shared")["results"]
        assert shared["raw"]["flag"] == "true"
        assert "bad key" not in shared["raw"], "no field can have such a name (push-api.md 4.4)"
        (few,) = filled.search('@uri=="http://x/3"', fieldsToInclude=["@rank"])["results"]
        assert few["raw"] == {"rank": 3}

    def test_pages_and_order(self, filled: Remote) -> None:
        query = f"@source=={SOURCE}"
        page = filled.search(query, sortCriteria="@rank descending", numberOfResults=2, firstResult=2)
        assert (page["totalCount"], [result["raw"]["rank"] for result in page["results"]]) == (5, [2, 1])
        assert filled.uris(query, sortCriteria="@rowid ascending")[0] == "http://x/0"
        assert filled.uris(query, sortCriteria="date descending,@rank ascending")[0] == "http://x/0"

    def test_dates_are_compared_as_times(self, remote: Remote) -> None:
        for day in ("2024-01-31T10:00:00Z", "2024-02-01 09:00:00", "2024/03/01"):
            remote.put(f"http://{day[:7]}", {"date": day}, path=remote.shared)
        remote.put("http://today", {}, path=remote.shared)
        assert remote.uris("@date>=2024/02/01") == ["http://2024-02", "http://2024/03"]
        assert remote.uris("@date==2024/01/01..2024/02/29") == ["http://2024-01", "http://2024-02"]
        assert remote.uris('@date<"2024-01-31T10:00:00Z"') == ["http://today"], "the time of its push (push-api.md 3.1)"
        assert remote.uris("@date==1706695200000") == ["http://2024-01"]
        assert remote.uris("@date>0", sortCriteria="date descending")[0] == "http://2024/03"
        query = {"organizationId": ORGANIZATION, "aq": "@date>soon"}
        assert remote.client.get("/rest/search/v2", params=query).json()["errorCode"] == "INVALID_QUERY"

    def test_beyond_the_reach_of_paging_one_goes_by_a_key(self, start: Start) -> None:
        remote = start(maximum_results=4)
        for number in range(10):
            remote.put(f"http://x/{number}", {}, path=remote.shared)
        seen: list[str] = []
        last = 0
        while found := remote.search(f"@rowid>{last}", sortCriteria="@rowid ascending", numberOfResults=4)["results"]:
            seen += [result["uri"] for result in found]
            last = found[-1]["raw"]["rowid"]
        assert seen == [f"http://x/{number}" for number in range(10)]
        query = {"organizationId": ORGANIZATION, "firstResult": "4", "numberOfResults": "1"}
        assert remote.client.get("/rest/search/v2", params=query).status_code == 400

    @pytest.mark.parametrize("body", [{"numberOfResults": 1001}, {"firstResult": 4991}, {"numberOfResults": "x"}])
    def test_bounds(self, remote: Remote, body: dict[str, Any]) -> None:
        answer = remote.client.post("/rest/search/v2", params={"organizationId": ORGANIZATION}, json=body)
        assert answer.status_code == 400

    def test_parameters_may_come_in_the_query(self, filled: Remote) -> None:
        query = {"organizationId": ORGANIZATION, "viewAllContent": "true", "aq": "@rank==1", "numberOfResults": "1"}
        assert filled.client.get("/rest/search/v2", params=query).json()["totalCount"] == 1

    def test_without_view_all_content_only_public_items_show(self, filled: Remote) -> None:
        filled.put("http://public", {"permissions": [{"allowAnonymous": True}]})
        query = {"organizationId": ORGANIZATION}
        found = filled.client.post("/rest/search/v2", params=query, json={"numberOfResults": 100}).json()
        assert [result["uri"] for result in found["results"]] == ["http://shared", "http://public"]
        assert found["totalCount"] == 2

    def test_the_privilege_to_view_all_is_needed(self, start: Start) -> None:
        remote = start(keys={"reader": frozenset({"EXECUTE_QUERY"})})
        remote.put("http://a")
        query = {"organizationId": ORGANIZATION, "viewAllContent": "1"}
        headers = {"Authorization": "Bearer reader"}
        assert remote.client.post("/rest/search/v2", params=query, headers=headers).json()["totalCount"] == 0


class TestOneItem:
    def ask(self, remote: Remote, name: str = "document", **query: str) -> Any:
        return remote.client.get(f"/rest/search/v2/{name}", params={"organizationId": ORGANIZATION, **query})

    def unique(self, remote: Remote, uri: str) -> str:
        (found,) = remote.search(f'@uri=="{uri}"')["results"]
        return str(found["uniqueId"])

    def test_by_either_identifier(self, filled: Remote) -> None:
        (found,) = filled.search('@uri=="http://shared"')["results"]
        for query in ({"uniqueId": found["uniqueId"]}, {"primaryId": found["raw"]["primaryid"]}):
            assert self.ask(filled, **query).json()["uri"] == "http://shared"
        filled.put("http://own", {"primaryid": "mine"}, path=filled.shared)
        assert self.ask(filled, primaryId="mine").json()["uri"] == "http://own"
        assert self.ask(filled, primaryId="nope").status_code == 404

    def test_by_exactly_one(self, filled: Remote) -> None:
        assert self.ask(filled).status_code == 400
        assert self.ask(filled, uniqueId="a", primaryId="b").status_code == 400

    @pytest.mark.parametrize("name", ["document", "text", "html", "datastream"])
    def test_only_for_who_sees_it(self, filled: Remote, name: str) -> None:
        filled.put("http://x/0", {"data": "text", "permissions": READABLE})
        query = {"uniqueId": self.unique(filled, "http://x/0"), "dataStream": "$BODY$"}
        assert self.ask(filled, name, **query).status_code == 404
        assert self.ask(filled, name, **query, viewAllContent="1").status_code == 200

    def test_text(self, remote: Remote) -> None:
        page = "<html><head><title>T</title><style>x</style></head><body><p>One</p><script>y</script>Two &amp; 3</body>"
        remote.put("http://page", {"data": page, "fileExtension": ".html"}, path=remote.shared)
        remote.put("http://plain", {"data": "a < b"}, path=remote.shared)
        assert self.ask(remote, "text", uniqueId=self.unique(remote, "http://page")).text == "One\nTwo & 3"
        assert self.ask(remote, "text", uniqueId=self.unique(remote, "http://plain")).text == "a < b"

    def test_quickview(self, remote: Remote) -> None:
        remote.put("http://plain", {"data": "a < <script>"}, path=remote.shared)
        answer = self.ask(remote, "html", uniqueId=self.unique(remote, "http://plain"))
        assert "a &lt; &lt;script&gt;" in answer.text
        assert answer.headers["content-security-policy"].startswith("sandbox")

    def test_data_stream(self, remote: Remote) -> None:
        remote.put("http://plain", {"data": "bytes"}, path=remote.shared)
        remote.put("http://bare", {}, path=remote.shared)
        name = self.unique(remote, "http://plain")
        assert self.ask(remote, "datastream", uniqueId=name, dataStream="$BODY$").content == b"bytes"
        assert self.ask(remote, "datastream", uniqueId=name).status_code == 400
        assert self.ask(remote, "datastream", uniqueId=name, dataStream="nope").status_code == 404
        bare = self.unique(remote, "http://bare")
        assert self.ask(remote, "datastream", uniqueId=bare, dataStream="$BODY$").status_code == 404


class TestPermissions:
    def path(self, remote: Remote, name: str, tail: str = "") -> str:
        (index,) = remote.client.get(f"{remote.platform}/indexes").json()
        encoded = quote(quote(name, safe=""), safe="")
        return f"{remote.platform}/indexes/{index['id']}/documents/{encoded}/permissions{tail}"

    def test_the_model(self, remote: Remote) -> None:
        play_usage_example(remote)
        (found,) = remote.search()["results"]
        for name in (EXAMPLE, found["uniqueId"]):
            model = remote.client.get(self.path(remote, name)).json()
            assert model["state"] == "VALID"
            ((only,),) = (level["permissionSets"] for level in model["permissionLevels"])
            assert not only["anonymousAllowed"]
            assert [(entry["allowed"], entry["identity"], entry["state"]) for entry in only["permissions"]] == [
                (True, "AlphaTeam", "UP_TO_DATE"),
                (False, "bob@example.com", "UP_TO_DATE"),
            ]

    def test_effective(self, remote: Remote) -> None:
        play_usage_example(remote)
        page = remote.client.get(self.path(remote, EXAMPLE, "/effective")).json()
        assert (page["totalEntries"], page["totalPages"], page["anonymousAllowed"]) == (6, 1, False)
        denied = remote.client.get(self.path(remote, EXAMPLE, "/effective?includedEntities=DENIED")).json()
        assert {(entry["identity"], entry["securityProvider"]) for entry in denied["items"]} == {
            ("bob@example.com", EMAIL),
            ("bob@example.com", PROVIDER),
        }
        part = remote.client.get(self.path(remote, EXAMPLE, "/effective?page=1&perPage=4")).json()
        assert (len(part["items"]), part["totalPages"]) == (2, 2)

    def test_effective_by_state_and_time(self, remote: Remote) -> None:
        play_usage_example(remote)
        page = remote.client.get(self.path(remote, EXAMPLE, "/effective")).json()
        pushed = [entry for entry in page["items"] if entry["lastUpdateDate"] is not None]
        assert {entry["lastUpdateResult"] for entry in pushed} == {"SUCCESS"}
        query = "?states=UP_TO_DATE&from=2023-11-14T00:00:00Z"
        assert remote.client.get(self.path(remote, EXAMPLE, f"/effective{query}")).json()["items"] == pushed
        for nothing in ("?states=DISABLED", "?from=2030-01-01"):
            assert remote.client.get(self.path(remote, EXAMPLE, f"/effective{nothing}")).json()["totalEntries"] == 0
        assert remote.client.get(self.path(remote, EXAMPLE, "/effective?includedEntities=SOME")).status_code == 412

    def test_no_such_document(self, remote: Remote) -> None:
        assert remote.client.get(self.path(remote, "http://nobody")).status_code == 404

    def test_an_unresolved_deny(self, start: Start) -> None:
        body = {
            "permissions": [
                {
                    "allowedPermissions": [{"identity": "a@x.org", "identityType": "User", "securityProvider": EMAIL}],
                    "deniedPermissions": [{"identity": "Never", "identityType": "Group"}],
                }
            ]
        }
        for hides in (False, True):
            remote = start(doubts=Doubts(unresolved_deny_hides_item=hides))
            remote.put("http://a", body)
            assert remote.client.get(self.path(remote, "http://a")).json()["state"] == "IN_ERROR"
            page = remote.client.get(self.path(remote, "http://a", "/effective?includedEntities=ALLOWED")).json()
            assert page["totalEntries"] == (0 if hides else 1)


class TestSecurityCache:
    def entity(self, remote: Remote, tail: str, name: str, type_: str = "User", **query: str) -> Any:
        path = f"{remote.platform}/securitycache/entities/{PROVIDER}/{tail}"
        return remote.client.post(path, params=query, json={"name": name, "type": type_, "infos": []})

    def names(self, page: Any) -> list[str]:
        return [entry["name"] for entry in page.json()["items"]]

    def test_listing(self, remote: Remote) -> None:
        play_usage_example(remote)
        entities = f"{remote.platform}/securitycache/entities"
        page = remote.client.get(f"{entities}/{PROVIDER}/members", params=FIRST_PAGE)
        assert self.names(page) == ["AlphaTeam", "alice@example.com", "bob@example.com", "david@example.com"]
        assert {entry["state"] for entry in page.json()["items"]} == {"UP_TO_DATE"}
        assert remote.client.get(f"{entities}/list/is_supported").json() is True
        filters = {"providerIds": [PROVIDER], "identityTypes": ["USER"], "filterTerm": "D", "filteringMode": "PREFIX"}
        assert self.names(remote.client.post(f"{entities}/list", json=filters)) == ["david@example.com"]
        email = remote.client.get(f"{entities}/{quote(EMAIL)}/members")
        assert len(self.names(email)) == 3, "a mapped identity is created there (push-api.md 3.5)"

    def test_one(self, remote: Remote) -> None:
        play_usage_example(remote)
        found = self.entity(remote, "entity", "alphateam", "GROUP").json()
        assert (found["name"], found["type"], found["state"]) == ("AlphaTeam", "Group", "UP_TO_DATE")
        assert self.entity(remote, "entity", "nobody").status_code == 404

    def test_relations(self, remote: Remote) -> None:
        play_usage_example(remote)
        children = self.entity(remote, "members/children", "AlphaTeam", "Group", pageSize="2")
        assert self.names(children) == ["alice@example.com", "bob@example.com"]
        everything = self.entity(remote, "members/children", "AlphaTeam", "Group", recursive="true").json()
        assert everything["totalEntries"] == 6
        assert self.names(self.entity(remote, "members/parents", "alice@example.com")) == [
            "alice@example.com",
            "AlphaTeam",
        ]

    def test_members_that_were_only_named_are_unresolved(self, remote: Remote) -> None:
        body = {"identity": {"name": "G", "type": "GROUP"}, "members": [{"name": "m", "type": "USER"}]}
        remote.client.put(remote.identities, json=body)
        assert self.entity(remote, "entity", "m").json()["state"] == "NOT_UPDATED"

    def test_disabled_ones_stay_and_can_be_enabled(self, remote: Remote) -> None:
        play_usage_example(remote)
        remote.client.request("DELETE", remote.identities, json={"identity": {"name": "AlphaTeam", "type": "GROUP"}})
        query = {"source": SOURCE, "uri": EXAMPLE}
        states = f"{remote.platform}/securitycache/entities/{PROVIDER}/members?states=DISABLED"
        assert self.names(remote.client.get(states)) == ["AlphaTeam"]
        users = remote.client.get("/_emulator/viewers", params=query).json()["users"]
        assert {user["decision"] for user in users} == {"DENIED"}
        enable = f"{remote.platform}/securitycache/{PROVIDER}/disabled/enable"
        assert remote.client.post(enable).status_code == 204
        users = remote.client.get("/_emulator/viewers", params=query).json()["users"]
        assert {user["decision"] for user in users} == {"DENIED", "ALLOWED"}

    @pytest.mark.parametrize("tail", ["refresh", f"{PROVIDER}/refresh", f"{PROVIDER}/refresh/cancel"])
    def test_refresh(self, remote: Remote, tail: str) -> None:
        assert remote.client.post(f"{remote.platform}/securitycache/{tail}").status_code == 204
        unknown = tail.replace(PROVIDER, "nope")
        assert remote.client.post(f"{remote.platform}/securitycache/{unknown}").status_code == (
            204 if unknown == tail else 404
        )

    def test_refresh_of_one(self, remote: Remote) -> None:
        path = f"{remote.platform}/securitycache/refresh/entity"
        member = {"name": "a", "type": "User", "infos": []}
        assert remote.client.post(path, json={**member, "provider": PROVIDER}).status_code == 204
        assert remote.client.post(path, json={**member, "provider": "nope"}).status_code == 404
        assert remote.client.post(path, json=member).status_code == 404

    @pytest.mark.parametrize("tail", ["refresh", f"{PROVIDER}/refresh", "refresh/entity"])
    def test_the_cache_may_follow_only_when_it_is_refreshed(self, start: Start, tail: str) -> None:
        remote = start(doubts=Doubts(cache_view="on refresh"))
        play_usage_example(remote)
        members = f"{remote.platform}/securitycache/entities/{PROVIDER}/members"

        def decisions() -> set[str]:
            query = {"source": SOURCE, "uri": EXAMPLE}
            return {user["decision"] for user in remote.client.get("/_emulator/viewers", params=query).json()["users"]}

        assert self.names(remote.client.get(members)) == []
        assert decisions() == {"DENIED"}, "of whom the item itself names"
        body = {"name": "AlphaTeam", "type": "Group", "provider": PROVIDER, "infos": []}
        remote.client.post(f"{remote.platform}/securitycache/{tail}", json=body)
        assert "AlphaTeam" in self.names(remote.client.get(members))
        assert self.entity(remote, "entity", "AlphaTeam", "Group").json()["state"] == "UP_TO_DATE"
        assert decisions() == {"ALLOWED", "DENIED"}

    def test_pushed_again_it_waits_for_the_next_refresh(self, start: Start) -> None:
        remote = start(doubts=Doubts(cache_view="on refresh"))
        group = {"name": "G", "type": "GROUP"}
        for member in ("a", "b"):
            people = [{"name": member, "type": "USER"}]
            remote.client.put(remote.identities, json={"identity": group, "members": people})
            children = self.entity(remote, "members/children", "G", "Group")
            assert self.names(children) == ([] if member == "a" else ["a"])
            remote.client.post(f"{remote.platform}/securitycache/refresh")
            assert self.names(self.entity(remote, "members/children", "G", "Group")) == [member]

    def dates(self, remote: Remote) -> dict[str, Any]:
        """Return when each identity was last updated in the cache, as minutes after the clock's start."""
        members = f"{remote.platform}/securitycache/entities/{PROVIDER}/members"
        start = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        listed = remote.client.get(members).json()["items"]
        return {
            entry["name"]: entry["lastUpdateDate"]
            and (datetime.fromisoformat(entry["lastUpdateDate"]) - start).total_seconds() / 60
            for entry in listed
        }

    def push(self, remote: Remote, *names: str) -> None:
        for name in names:
            remote.client.put(remote.identities, json={"identity": {"name": name, "type": "GROUP"}})

    def test_the_date_of_the_last_update_is_that_of_the_refresh(self, start: Start) -> None:
        remote = start(doubts=Doubts(cache_view="on refresh"))
        self.push(remote, "a", "b")
        remote.clock.advance(600)
        remote.client.post(f"{remote.platform}/securitycache/{PROVIDER}/refresh")
        assert self.dates(remote) == {"a": 10, "b": 10}
        remote.clock.advance(600)
        body = {"name": "b", "type": "Group", "provider": PROVIDER, "infos": []}
        remote.client.post(f"{remote.platform}/securitycache/refresh/entity", json=body)
        assert self.dates(remote) == {"a": 10, "b": 20}

    def test_a_cache_that_follows_at_once_is_refreshed_by_whatever_is_processed(self, remote: Remote) -> None:
        self.push(remote, "a")
        remote.clock.advance(60)
        self.push(remote, "b")
        assert self.dates(remote) == {"a": 1, "b": 1}

    def test_a_refresh_takes_its_time_and_can_be_called_off_until_then(self, start: Start) -> None:
        remote = start(doubts=Doubts(cache_view="on refresh"), delay=60)
        refresh = f"{remote.platform}/securitycache/{PROVIDER}/refresh"
        status = f"{remote.platform}/securityproviders/{PROVIDER}"
        self.push(remote, "a")
        remote.clock.advance(60)
        assert remote.client.get(status).json()["currentStatus"] == {"state": "IDLE"}
        assert remote.client.post(refresh).status_code == 204
        remote.clock.advance(30)
        assert remote.client.get(status).json()["currentStatus"] == {"state": "UPDATING"}
        assert self.dates(remote) == {}
        assert remote.client.post(f"{refresh}/cancel").status_code == 204
        remote.clock.advance(60)
        assert self.dates(remote) == {}
        remote.client.post(refresh)
        remote.clock.advance(60)
        assert remote.client.post(f"{refresh}/cancel").status_code == 204
        assert self.dates(remote) == {"a": 3.5}

    def test_the_cache_is_refreshed_by_itself_at_the_times_of_its_schedule(self, start: Start) -> None:
        remote = start(doubts=Doubts(cache_view="on refresh"), refresh_every=3600)
        # The clock starts at 22:13:20, so the first refresh is 46 minutes and 40 seconds later.
        self.push(remote, "a")
        remote.clock.advance(46 * 60)
        assert self.dates(remote) == {}
        remote.clock.advance(60)
        self.push(remote, "b")
        assert self.dates(remote) == {"a": pytest.approx(46 + 40 / 60)}
        remote.clock.advance(10 * 3600)
        assert set(self.dates(remote)) == {"a", "b"}
        assert len(set(self.dates(remote).values())) == 1

    def test_what_is_due_after_a_scheduled_refresh_waits_for_the_next_one(self, start: Start) -> None:
        remote = start(doubts=Doubts(cache_view="on refresh"), refresh_every=3600, delay=40 * 60)
        self.push(remote, "a")
        remote.clock.advance(20 * 60)
        self.push(remote, "b")
        # Nobody asked in between: both are processed now, on either side of the refresh at 23:00.
        remote.clock.advance(60 * 60)
        assert set(self.dates(remote)) == {"a"}
        remote.clock.advance(60 * 60)
        assert set(self.dates(remote)) == {"a", "b"}

    def test_a_removed_member_sees_the_item_until_the_refresh(self, start: Start) -> None:
        remote = start(doubts=Doubts(cache_view="on refresh"))
        play_usage_example(remote)
        refresh = f"{remote.platform}/securitycache/{PROVIDER}/refresh"
        remote.client.post(refresh)

        def allowed() -> set[str]:
            query = {"source": SOURCE, "uri": EXAMPLE}
            users = remote.client.get("/_emulator/viewers", params=query).json()["users"]
            return {user["identity"] for user in users if user["decision"] == "ALLOWED"}

        before = allowed()
        assert before
        group = {"identity": {"name": "AlphaTeam", "type": "GROUP"}, "members": []}
        assert remote.client.put(remote.identities, json=group).status_code == 202
        assert allowed() == before
        remote.client.post(refresh)
        assert allowed() == set()

    def test_members_by_state_and_time(self, start: Start) -> None:
        remote = start(doubts=Doubts(cache_view="on refresh"))
        play_usage_example(remote)
        remote.client.post(f"{remote.platform}/securitycache/refresh")
        remote.clock.advance(3600)
        remote.client.request("DELETE", remote.identities, json={"identity": {"name": "AlphaTeam", "type": "GROUP"}})
        body = {"name": "AlphaTeam", "type": "Group", "provider": PROVIDER, "infos": []}
        remote.client.post(f"{remote.platform}/securitycache/refresh/entity", json=body)
        members = f"{remote.platform}/securitycache/entities/{PROVIDER}/members"
        late = {"from": "2023-11-14T23:00:00Z", "to": "2023-11-15T00:00:00Z"}
        assert self.names(remote.client.get(members, params=late)) == ["AlphaTeam"]
        early = {"from": "2023-11-14T22:00:00Z", "to": "2023-11-14T22:59:59Z"}
        assert "AlphaTeam" not in self.names(remote.client.get(members, params=early))
        both = remote.client.get(members, params={"states": "DISABLED,UP_TO_DATE"})
        assert len(self.names(both)) == 4
        assert remote.client.get(members, params={"from": "soon"}).status_code == 412

    def test_all_disabled_ones_are_enabled_at_once(self, remote: Remote) -> None:
        play_usage_example(remote)
        remote.client.request("DELETE", remote.identities, json={"identity": {"name": "AlphaTeam", "type": "GROUP"}})
        assert remote.client.post(f"{remote.platform}/securitycache/nope/disabled/enable").status_code == 404
        assert remote.client.post(f"{remote.platform}/securitycache/disabled/enable").status_code == 204
        assert self.entity(remote, "entity", "AlphaTeam", "Group").json()["state"] == "UP_TO_DATE"

    def test_well_knowns_are_overwritten_by_either_endpoint(self, remote: Remote) -> None:
        """Members and mappings are separate, well-knowns are shared (push-api.md 5.3)."""
        who = {"name": "a@x.org", "type": "USER"}
        everyone = [{"name": "Everyone", "type": "GROUP"}]
        remote.client.put(remote.identities, json={"identity": who, "wellKnowns": everyone})
        remote.client.put(remote.mappings, json={"identity": who, "mappings": [who], "wellKnowns": everyone})
        (found,) = remote.state()["identities"][PROVIDER]
        assert (len(found["wellKnowns"]), len(found["mappings"])) == (1, 1)
        remote.client.put(remote.identities, json={"identity": who})
        (found,) = remote.state()["identities"][PROVIDER]
        assert (len(found["wellKnowns"]), len(found["mappings"])) == (0, 1)

    def test_a_mapping_names_its_provider_where_there_are_several(self, remote: Remote) -> None:
        who = {"name": "a", "type": "USER"}
        path = f"{remote.base}/providers/exact/mappings"
        assert remote.client.put(path, json={"identity": who, "mappings": [who]}).status_code == 400
        body = {"identity": who, "mappings": [{**who, "provider": EMAIL}]}
        assert remote.client.put(path, json=body).status_code == 202


class TestSourcesAndLogs:
    def test_summary(self, filled: Remote) -> None:
        filled.client.post(f"{filled.base}/sources/{SOURCE}/status", params={"statusType": "REBUILD"})
        found = filled.client.get(f"{filled.platform}/sources/{SOURCE}").json()
        assert (found["sourceVisibility"], found["pushEnabled"]) == ("SECURED", True)
        assert found["information"]["numberOfDocuments"] == 5
        assert found["information"]["sourceStatus"]["type"] == "REFRESHING"
        assert found["information"]["lastOperation"]["operationType"] == "REBUILD"
        assert (found["sourceType"], found["streamEnabled"]) == ("PUSH", False)
        assert [entry["id"] for entry in filled.client.get(f"{filled.platform}/sources").json()] == [SOURCE, "shared"]
        assert filled.client.get(f"{filled.platform}/sources/pages").json()["totalEntries"] == 2
        assert filled.client.get(f"{filled.platform}/sources/nope").status_code == 404

    def test_organizations_are_apart(self, filled: Remote) -> None:
        query = {"organizationId": "other", "viewAllContent": "1"}
        assert filled.client.post("/rest/search/v2", params=query).json()["totalCount"] == 0

    def test_filters(self, filled: Remote) -> None:
        filled.delete("http://x/1")
        assert filled.logs(operations=["DELETE"]) == [("DELETE", "COMPLETED", "http://x/1", "")]
        assert len(filled.logs(sourcesIds=["shared"])) == len(filled.logs(sourceIds=["shared"])) == 1
        assert len(filled.logs(excludeOperations=["ADD"])) == 1
        filled.put("no-uri")
        assert [entry[2] for entry in filled.logs(results=["REJECTED"])] == ["no-uri"]
        assert [entry[2] for entry in filled.logs(tasks=["VALIDATION"])] == ["no-uri"]
        assert len(filled.logs(excludeResults=["REJECTED"])) == len(filled.logs(excludeTasks=["VALIDATION"])) == 7
        assert {entry[2] for entry in filled.logs(excludeSourcesIds=[SOURCE])} == {"http://shared"}

    @pytest.mark.parametrize(
        ("matching", "name", "count"),
        [("EXACT", "http://x/1", 1), ("EXACT", "http://x/", 0), ("PARTIAL", "/x/", 5), ("WILDCARD", "*x/[!1]*", 0),
         ("WILDCARD", "http://x/?", 5)],
    )  # fmt: skip
    def test_by_item(self, filled: Remote, matching: str, name: str, count: int) -> None:
        query = {"from": "2023-11-14", "to": "2023-11-15", "documentId": name, "documentIdMatching": matching}
        answer = filled.client.post(f"/logs/v1/organizations/{ORGANIZATION}", params=query)
        assert len(answer.json()["documentLogEntries"]) == count

    def test_pages(self, filled: Remote) -> None:
        query = {"from": "2023-11-14", "to": "2023-11-15", "perPage": "4"}
        pages = [
            filled.client.post(f"/logs/v1/organizations/{ORGANIZATION}", params={**query, "page": page}).json()
            for page in (0, 1)
        ]
        assert [(len(page["documentLogEntries"]), page["hasNextPage"]) for page in pages] == [(4, True), (2, False)]

    @pytest.mark.parametrize(
        "query", [{}, {"from": "2023-11-14"}, {"from": "x", "to": "y"}, {"from": "2023-11-01", "to": "2023-11-14"}]
    )
    def test_a_week_at_most(self, remote: Remote, query: dict[str, str]) -> None:
        assert remote.client.post(f"/logs/v1/organizations/{ORGANIZATION}", params=query).status_code == 412


class TestControl:
    def test_visible(self, remote: Remote) -> None:
        play_usage_example(remote)
        remote.put("http://shared", {}, path=remote.shared)

        def seen(**query: str) -> list[str]:
            return [entry["uri"] for entry in remote.client.get("/_emulator/visible", params=query).json()["items"]]

        assert seen() == ["http://shared"]
        assert seen(provider=EMAIL, name="ALICE@example.com") == [EXAMPLE, "http://shared"]
        assert seen(provider=EMAIL, name="bob@example.com") == ["http://shared"]
        assert seen(provider=PROVIDER, type="GROUP", name="AlphaTeam") == [EXAMPLE, "http://shared"]

    def test_reset(self, remote: Remote) -> None:
        play_usage_example(remote)
        remote.client.post("/_emulator/reset")
        state = remote.state()
        assert state["sources"][SOURCE]["items"] == []
        assert not any(state["identities"].values())
        assert remote.client.get("/_emulator/requests").json()["requests"] == []

    def test_requests_since(self, filled: Remote) -> None:
        listed = filled.client.get("/_emulator/requests?since=5").json()
        assert (listed["total"], len(listed["requests"])) == (6, 1)
        assert filled.client.get("/_emulator/requests?since=x").status_code == 412

    def test_the_log_is_bounded(self, start: Start) -> None:
        remote = start(request_log_entries=10, request_log_bytes=3000)
        for number in range(20):
            remote.put(f"http://x/{number}", {"data": "x" * 900}, path=remote.shared)
        kept = remote.client.get("/_emulator/requests").json()["requests"]
        assert len(kept) == 10
        assert [entry["body"] is not None for entry in kept] == [False] * 7 + [True] * 3


HOSTILE = "<script>alert(1)</script>\"'&"


def test_what_the_cache_lists_is_worked_out_once_until_something_is_processed(remote: Remote) -> None:
    engine = remote.client._transport.app.state.engine  # type: ignore[attr-defined]
    body: dict[str, Any] = {"identity": {"name": "Team", "type": "GROUP"}, "members": [{"name": "al", "type": "USER"}]}
    assert remote.client.put(remote.identities, json=body).status_code == 202

    def listed() -> list[str]:
        answer = remote.client.get(f"{remote.platform}/securitycache/entities/{PROVIDER}/members")
        return [entry["name"] for entry in answer.json()["items"]]

    assert listed() == ["Team", "al"]
    first = engine.identities.spellings(ORGANIZATION)
    assert listed() == ["Team", "al"] and engine.identities.spellings(ORGANIZATION) is first
    body["members"] = [{"name": "Bob", "type": "USER"}]
    assert remote.client.put(remote.identities, json=body).status_code == 202
    assert listed() == ["Team", "Bob"]
