"""The servers of the team stores, for tests that want one; each test gets a place in it that nobody used before."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ON_CI
from tests.servers.keeping import Server, begin
from tests.servers.kinds import KINDS

Find = Callable[[str], Server]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Find a server by the name of its kind; all workers of a run share it, and whoever comes first starts it."""
    base, owner = tmp_path_factory.getbasetemp(), os.getpid()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base, owner = base.parent, os.getppid()

    def find(name: str) -> Server:
        missing = KINDS[name].missing()
        if missing:
            assert os.environ.get(ON_CI) != "true", f"this must run on CI, and there {missing}"
            pytest.skip(missing)
        return begin(name, Path(base) / "servers", owner)

    return find


@contextmanager
def _environment(server: Server) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "AZURE_", "PG")):
                patch.delenv(name)
        for name, value in server.settings.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def postgres_url(server: Find) -> Iterator[str]:
    """The URL of an empty database; its password is in the environment (PGPASSWORD)."""
    running = server("postgres")
    import psycopg

    name = f"t_{uuid.uuid4().hex}"
    with _environment(running):
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        yield running.url.rpartition("/")[0] + f"/{name}"
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def s3_url(server: Find) -> Iterator[str]:
    """The URL of an empty prefix in a bucket; endpoint and keys are in the environment (AWS_...)."""
    running = server("s3")
    with _environment(running):
        yield f"{running.url}/{uuid.uuid4().hex}"


@pytest.fixture
def azure_url(server: Find) -> Iterator[str]:
    """The URL of an empty prefix in a container; endpoint and key are in the environment (AZURE_...)."""
    running = server("azure")
    with _environment(running):
        yield f"{running.url}/{uuid.uuid4().hex}"
