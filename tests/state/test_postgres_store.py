"""PostgreSQL keeps the contract of stores; here the real server, and what only it can go through."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator

import pytest
from store_contract import OpenStore, StoreContract

from reconciler.state.postgres import PostgresStore

Opened = Callable[[str], PostgresStore]


@pytest.fixture
def opened() -> Iterator[Opened]:
    stores: list[PostgresStore] = []

    def open_at(url: str) -> PostgresStore:
        stores.append(PostgresStore(url))
        return stores[-1]

    yield open_at
    for store in stores:
        store.close()


@pytest.fixture
def url(postgres_url: str) -> str:
    return in_schema(postgres_url)


@pytest.fixture
def open_store(opened: Opened, url: str) -> OpenStore:
    return lambda: opened(url)


@pytest.fixture
def open_fresh_store(opened: Opened, postgres_url: str) -> Callable[[], OpenStore]:
    numbers = itertools.count()

    def fresh() -> OpenStore:
        url = in_schema(postgres_url, f"_{next(numbers)}")
        return lambda: opened(url)

    return fresh


def in_schema(url: str, suffix: str = "") -> str:
    return f"{url}{'&' if '?' in url else '?'}schema=s{uuid.uuid4().hex[:12]}{suffix}"


class TestPostgresStore(StoreContract):
    """The contract."""
