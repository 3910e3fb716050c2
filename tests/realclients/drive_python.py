"""Uses the official Python client as its users do; run in a process of its own: URL, SCENARIO.

The client writes its host into every address. Nothing of it is changed: the session that it makes gets a
transport adapter for that host, which is how `requests` lets one route, and which sends to the emulator what the
client wrote, byte by byte. Uploads go to the address that the emulator gave, through the client's own adapter.

Prints the statuses of the answers as JSON.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import push_api_clientpy as coveo
import requests
from requests.adapters import HTTPAdapter

HOSTS = ("https://api.cloud.coveo.com", "https://platform.cloud.coveo.com")


class ToEmulator(HTTPAdapter):
    """Sends requests for one host to another."""

    def __init__(self, host: str, url: str, **options: Any) -> None:
        super().__init__(**options)
        self._host = host
        self._url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        assert request.url is not None and request.url.startswith(self._host)
        request.url = self._url + request.url.removeprefix(self._host)
        return super().send(request, *args, **options)


@dataclass
class Settings:
    """What the emulator was started with."""

    url: str
    organization: str
    source: str
    catalog: str
    provider: str
    key: str


def source_of(settings: Settings) -> coveo.Source:
    """Return the client's `Source`, routed."""
    source = coveo.Source(settings.key, settings.organization, coveo.BackoffOptions(retry_after=0, max_retries=3))
    for host in HOSTS:
        adapter = ToEmulator(host, settings.url, max_retries=source.client.retries)
        source.client.session.mount(host + "/", adapter)
    return source


def add(source: coveo.Source, settings: Settings) -> list[requests.Response]:
    builder = (
        coveo.DocumentBuilder("https://example.com/a b?x=1&y=2", "Title")
        .withData("Some text")
        .withDate("2017-11-08T12:18:41")
        .withAuthor("Alice")
        .withFileExtension(".txt")
        .withParentId("https://example.com/")
        .withClickableUri("https://example.com/click")
        .withMetadataValue("MyKey", ["one", "two"])
        .withMetadataValue("number", 5)
    )
    return [source.addOrUpdateDocument(settings.source, builder)]


def add_with_permissions(source: coveo.Source, settings: Settings) -> list[requests.Response]:
    builder = (
        coveo.DocumentBuilder("https://example.com/secret", "Secret")
        .withAllowAnonymousUsers(False)
        .withAllowedPermissions(coveo.UserSecurityIdentityBuilder(["alice@example.com", "carol@example.com"]))
        .withAllowedPermissions(coveo.GroupSecurityIdentityBuilder("Team", settings.provider))
        .withDeniedPermissions(coveo.VirtualGroupSecurityIdentityBuilder("Guests", settings.provider))
    )
    return [source.addOrUpdateDocument(settings.source, builder)]


def add_compressed(source: coveo.Source, settings: Settings) -> list[requests.Response]:
    packed: list[tuple[str, Callable[[bytes], bytes]]] = [("ZLIB", zlib.compress), ("GZIP", gzip.compress)]
    answers = []
    for name, pack in packed:
        data = base64.b64encode(pack(b"<p>packed</p>")).decode()
        builder = coveo.DocumentBuilder(f"https://example.com/{name}", name).withCompressedBinaryData(data, name)
        answers.append(source.addOrUpdateDocument(settings.source, builder.withFileExtension(".html")))
    return answers


def delete(source: coveo.Source, settings: Settings) -> list[requests.Response]:
    uris = ("file://folder", "file://folder/a", "file://other", "file://other/a")
    answers = [source.addOrUpdateDocument(settings.source, coveo.DocumentBuilder(uri, uri)) for uri in uris]
    answers.append(source.client.deleteDocument(settings.source, "file://folder", True))
    answers.append(source.client.deleteDocument(settings.source, "file://other", False))
    return answers


def batch(source: coveo.Source, settings: Settings) -> list[requests.Response]:
    gone = source.addOrUpdateDocument(settings.source, coveo.DocumentBuilder("https://example.com/gone", "Gone"))
    documents = [coveo.DocumentBuilder(f"https://example.com/{n}", f"Number {n}").withData("é" * n) for n in range(20)]
    data = base64.b64encode(gzip.compress(b"packed")).decode()
    documents.append(coveo.DocumentBuilder("https://example.com/gzip", "G").withCompressedBinaryData(data, "GZIP"))
    removed = [coveo.BatchDelete("https://example.com/gone", False)]
    return [gone, source.batchUpdateDocuments(settings.source, coveo.BatchUpdate(documents, removed))]


def identities(source: coveo.Source, settings: Settings) -> list[requests.Response]:
    provider = settings.provider
    alice = coveo.IdentityModel({}, "alice", "USER")
    everyone = coveo.IdentityModel({"key": "value"}, "Everyone", "VIRTUAL_GROUP")
    email = coveo.AliasMapping({}, "alice@example.com", "USER", "Email Security Provider")
    gone = coveo.IdentityModel({}, "Gone", "GROUP")
    team = coveo.SecurityIdentityModel(coveo.IdentityModel({}, "Team", "GROUP"), [everyone], [alice])
    return [
        source.createOrUpdateSecurityIdentity(provider, team),
        source.createOrUpdateSecurityIdentity(provider, coveo.SecurityIdentityModel(gone, [], [alice])),
        source.createOrUpdateSecurityIdentityAlias(
            provider, coveo.SecurityIdentityAliasModel(alice, [everyone], [email])
        ),
        source.deleteSecurityIdentity(provider, coveo.SecurityIdentityDelete(gone)),
    ]


def old_identities(source: coveo.Source, settings: Settings) -> list[requests.Response]:
    old = coveo.SecurityIdentityModel(coveo.IdentityModel({}, "Old", "GROUP"), [], [])
    return [
        source.createOrUpdateSecurityIdentity(settings.provider, old),
        source.deleteOldSecurityIdentities(
            settings.provider, coveo.SecurityIdentityDeleteOptions(QueueDelay=0, OrderingID=4_000_000_000_000)
        ),
    ]


@dataclass
class Identities:
    """The client has no model of a batch of identities; it uploads any dataclass."""

    members: list[Any]
    mappings: list[Any]
    deleted: list[Any]


def identity_batch(source: coveo.Source, settings: Settings) -> list[requests.Response]:
    gone = coveo.SecurityIdentityModel(coveo.IdentityModel({}, "Gone", "GROUP"), [], [])
    first = source.createOrUpdateSecurityIdentity(settings.provider, gone)
    alice = coveo.IdentityModel({}, "alice", "USER")
    team = coveo.SecurityIdentityModel(coveo.IdentityModel({}, "Team", "GROUP"), [], [alice])
    email = coveo.AliasMapping({}, "alice@example.com", "USER", "Email Security Provider")
    content = Identities(
        [team.toJSON()],
        [coveo.SecurityIdentityAliasModel(alice, [], [email]).toJSON()],
        [coveo.SecurityIdentityDelete(gone.Identity).toJSON()],
    )
    made = source.client.createFileContainer()
    container = coveo.FileContainer(**made.json())
    uploaded = source.client.uploadContentToFileContainer(container, content)
    config = coveo.SecurityIdentityBatchConfig(FileID=container.fileId, OrderingID=4_000_000_000_000)
    return [first, made, uploaded, source.manageSecurityIdentities(settings.provider, config)]


SCENARIOS: dict[str, Callable[[coveo.Source, Settings], list[requests.Response]]] = {
    function.__name__: function
    for function in (
        add,
        add_with_permissions,
        add_compressed,
        delete,
        batch,
        identities,
        old_identities,
        identity_batch,
    )
}


def main() -> None:
    settings = Settings(**json.loads(sys.argv[1]))
    source = source_of(settings)
    print(json.dumps([answer.status_code for answer in SCENARIOS[sys.argv[2]](source, settings)]))


if __name__ == "__main__":
    main()
