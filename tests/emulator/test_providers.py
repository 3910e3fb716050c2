"""Security identity providers: made, changed, listed and deleted by calls (push-api.md 2.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from reconciler.emulator.options import Doubts, ProviderOptions, SourceOptions
from tests.emulator.conftest import EMAIL, PROVIDER, SOURCE, Remote, Start

CASCADE = {EMAIL: {"id": EMAIL, "name": EMAIL, "type": "EMAIL"}}


def model(name: str = "made", **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "displayName": "Made here",
        "type": "EXPANDED",
        "nodeRequired": False,
        "caseSensitive": False,
        "referencedBy": [],
        "cascadingSecurityProviders": CASCADE,
        **changes,
    }


class Providers:
    """The providers API of an emulator."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.base = f"{remote.platform}/securityproviders"

    def call(self, method: str, name: str = "", body: Any = None, **query: Any) -> Any:
        tail = f"/{quote(name)}" if name else ""
        return self.remote.client.request(method, f"{self.base}{tail}", json=body, params=query)

    def ids(self) -> list[str]:
        return [found["id"] for found in self.call("GET").json()]

    def push(self, provider: str, name: str, status: int = 202) -> None:
        path = f"{self.remote.base}/providers/{provider}/permissions"
        answer = self.remote.client.put(path, json={"identity": {"name": name, "type": "USER"}})
        assert answer.status_code == status, answer.text

    def names(self, provider: str) -> list[str]:
        return [found["name"] for found in self.remote.state()["identities"][provider]]


@pytest.fixture
def providers(remote: Remote) -> Providers:
    return Providers(remote)


def test_create(providers: Providers) -> None:
    providers.push("made", "a", 412)
    answer = providers.call("POST", body=model())
    assert answer.status_code == 200
    assert (answer.json()["displayName"], answer.json()["cascadingSecurityProviders"]) == ("Made here", CASCADE)
    assert providers.ids() == [EMAIL, PROVIDER, "exact", "made"]
    providers.push("made", "a")
    assert providers.names("made") == ["a"]


@pytest.mark.parametrize("status", [409, 400])
def test_one_that_exists_is_not_created(start: Start, status: Any) -> None:
    providers = Providers(start(doubts=Doubts(existing_provider=status)))
    assert providers.call("POST", body=model(PROVIDER)).status_code == status


def test_put_creates_and_replaces(providers: Providers) -> None:
    assert providers.call("PUT", "made", model()).status_code == 200
    assert providers.call("PUT", "made", model(displayName="Other")).json()["displayName"] == "Other"
    assert providers.call("PUT", PROVIDER, model(PROVIDER, displayName="Ours")).status_code == 200
    assert providers.call("GET", PROVIDER).json()["displayName"] == "Ours"
    assert providers.ids().count(PROVIDER) == 1


def test_get_tells_references_statistics_and_status(providers: Providers) -> None:
    providers.push(PROVIDER, "a")
    found = providers.call("GET", PROVIDER).json()
    assert found["referencedBy"] == [{"id": SOURCE, "type": "SOURCE"}]
    assert found["statistics"]["totalNumberOfEntities"] == 1
    assert found["statistics"]["numberOfEntitiesByState"] == {"UP_TO_DATE": 1}
    assert found["currentStatus"] == {"state": "IDLE"}
    assert providers.call("GET", "nope").status_code == 404


def test_pages_and_filter(providers: Providers) -> None:
    providers.call("POST", body=model())
    page = providers.call("GET", "page", perPage=3, page=1).json()
    assert ([found["id"] for found in page["items"]], page["totalEntries"], page["totalPages"]) == (["made"], 4, 2)
    by_name = providers.call("GET", "page", filter="made HERE").json()
    assert [found["id"] for found in by_name["items"]] == ["made"]
    by_id = providers.call("GET", "page", filter="Email Sec").json()
    assert [found["id"] for found in by_id["items"]] == [EMAIL]


@pytest.mark.parametrize(("answer", "status"), [("refuse", 400), ("delete", 204)])
def test_delete(start: Start, answer: Any, status: int) -> None:
    providers = Providers(start(doubts=Doubts(provider_in_use=answer)))
    providers.push("exact", "a")
    assert providers.call("DELETE", PROVIDER).status_code == status
    assert providers.call("DELETE", "exact").status_code == 204
    assert "exact" not in providers.ids()
    providers.push("exact", "a", 412)
    assert providers.call("DELETE", "exact").status_code == 404
    providers.call("PUT", "exact", model("exact"))
    assert providers.names("exact") == [], "its identities went with it"


def test_the_email_provider_stays_as_it_is(providers: Providers) -> None:
    assert providers.call("DELETE", EMAIL).status_code == 400
    assert providers.call("PUT", EMAIL, model(EMAIL)).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"type": "EXPANDED", "id": ""},
        {"type": "EXPANDED", "id": "a/b"},
        {"id": "a", "type": "NOPE"},
        {"id": "a"},
        model("a", caseSensitive="yes"),
        model("a", displayName=5),
        model("a", referencedBy={}),
        model("a", referencedBy=[{"id": "x"}]),
        model("a", referencedBy=[{"id": "nope", "type": "SOURCE"}]),
        model("a", cascadingSecurityProviders=[]),
        model("a", cascadingSecurityProviders={"x": {}}),
    ],
)
def test_bad_models(providers: Providers, body: Any) -> None:
    answer = providers.call("POST", body=body)
    assert (answer.status_code, answer.json()["errorCode"]) in ((400, "INVALID_PARAMETER"), (400, "INVALID_JSON"))
    assert providers.call("PUT", "b", model("a")).status_code == 400, "an id is permanent"


def test_a_provider_is_given_to_a_source(start: Start) -> None:
    remote = start(sources=(SourceOptions("bare", "SECURED"),), providers=())
    providers = Providers(remote)
    providers.call("PUT", "made", model(referencedBy=[{"id": "bare", "type": "SOURCE"}]))
    source = remote.client.get(f"{remote.platform}/sources/bare").json()
    assert [entry["id"] for entry in source["securityProviderReferences"]] == ["made"]
    permissions = [{"allowedPermissions": [{"identity": "a", "identityType": "User"}]}]
    remote.put("http://a", {"permissions": permissions}, path=f"{remote.base}/sources/bare/documents")
    (level,) = remote.items("bare")["http://a"]["permissions"]
    assert level["permissionSets"][0]["allowedPermissions"][0]["securityProvider"] == "made"


@pytest.mark.parametrize(("answer", "status", "left"), [("change", 200, ["Anna"]), ("refuse", 400, ["Anna", "anna"])])
def test_whether_case_counts_can_change(start: Start, answer: Any, status: int, left: list[str]) -> None:
    remote = start(providers=(ProviderOptions("exact", case_sensitive=True),), doubts=Doubts(provider_case=answer))
    providers = Providers(remote)
    providers.push("exact", "anna")
    remote.clock.advance(1)
    providers.push("exact", "Anna")
    assert providers.call("PUT", "exact", model("exact", caseSensitive=False)).status_code == status
    assert sorted(providers.names("exact")) == left


def test_cascades_decide_what_a_mapping_must_name(providers: Providers) -> None:
    who = {"name": "a", "type": "USER"}
    path = f"{providers.remote.base}/providers/made/mappings"
    providers.call("PUT", "made", model())
    assert providers.remote.client.put(path, json={"identity": who, "mappings": [who]}).status_code == 202
    several = {**CASCADE, "other": {"id": PROVIDER, "name": PROVIDER, "type": "EXPANDED"}}
    providers.call("PUT", "made", model(cascadingSecurityProviders=several))
    assert providers.remote.client.put(path, json={"identity": who, "mappings": [who]}).status_code == 400


def test_they_outlive_a_restart_and_not_a_reset(start: Start, tmp_path: Path) -> None:
    first = Providers(start(data_dir=tmp_path))
    first.call("POST", body=model())
    first.call("DELETE", "exact")
    first.push("made", "a")
    first.remote.client.close()
    second = Providers(start(data_dir=tmp_path))
    assert second.ids() == [EMAIL, PROVIDER, "made"]
    assert second.names("made") == ["a"]
    second.remote.client.post("/_emulator/reset")
    assert second.ids() == [EMAIL, PROVIDER, "exact"]


@pytest.mark.parametrize(
    ("privilege", "providers", "cache", "permissions"),
    [("SECURITY_PROVIDER_VIEW", 200, 200, 403), ("SECURITY_CACHE_VIEW", 200, 200, 404), ("SOURCE_VIEW", 403, 403, 403)],
)
def test_either_privilege_reads_identities(
    start: Start, privilege: str, providers: int, cache: int, permissions: int
) -> None:
    """Reading providers and relations takes one of two privileges, an item's permissions one (push-api.md 1.3)."""
    remote = start(keys={"reader": frozenset({privilege})})
    headers = {"Authorization": "Bearer reader"}
    answers = [
        remote.client.get(f"{remote.platform}/{path}", headers=headers).status_code
        for path in (
            f"securityproviders/{PROVIDER}",
            f"securitycache/entities/{PROVIDER}/members",
            "indexes/emulated-index-1/documents/http%253A%252F%252Fa/permissions",
        )
    ]
    assert answers == [providers, cache, permissions]


def test_privileges(start: Start) -> None:
    remote = start(keys={"editor": frozenset({"SECURITY_CACHE_VIEW", "SECURITY_PROVIDER_EDIT"})})
    headers = {"Authorization": "Bearer editor"}
    base = f"{remote.platform}/securityproviders"
    assert remote.client.get(base, headers=headers).status_code == 200
    assert remote.client.post(base, json=model(), headers=headers).status_code == 403
    assert remote.client.delete(f"{base}/exact", headers=headers).status_code == 204
