"""The state in object stores: the contract, on a store in memory and on real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from shared_contract import Place, SharedContract
from store_contract import OpenStore, StoreContract

from reconciler.state import objects
from reconciler.state.objects import ObjectStore
from reconciler.state.objects_bucket import Bucket

Fresh = Callable[[], OpenStore]


class ObjectContract(StoreContract):
    """All instances of a test share a folder for their copies, as processes of one machine do."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def open_fresh_store(self, url: str, tmp_path: Path) -> Iterator[Fresh]:
        opened: list[ObjectStore] = []
        number = 0

        def fresh() -> OpenStore:
            nonlocal number
            number += 1
            where, copy = f"{url}/{number}", tmp_path / f"copy-{number}"

            def open_store() -> ObjectStore:
                opened.append(ObjectStore(where, copy))
                return opened[-1]

            return open_store

        yield fresh
        for store in opened:
            store.close()

    @pytest.fixture
    def open_store(self, open_fresh_store: Fresh) -> OpenStore:
        return open_fresh_store()


class ServerContract(ObjectContract, SharedContract):
    """Each process has a copy of its own, as on a machine of its own."""

    @pytest.fixture
    def shared(self, url: str, tmp_path: Path) -> Iterator[Place]:
        place = Place(f"{url}/shared", tmp_path)
        yield place
        place.close()


class TestInMemory(ObjectContract):
    @pytest.fixture
    def url(self, monkeypatch: pytest.MonkeyPatch) -> str:
        stores: dict[str, MemoryStore] = {}

        def connect(place, where, network):
            return Bucket(stores.setdefault(place.prefix, MemoryStore()), where, network)

        monkeypatch.setattr(objects, "connect", connect)
        return "s3://bucket/state"


class TestOnS3(ServerContract):
    @pytest.fixture
    def url(self, s3_url: str) -> str:
        return s3_url


class TestOnAzure(ServerContract):
    @pytest.fixture
    def url(self, azure_url: str) -> str:
        return azure_url
