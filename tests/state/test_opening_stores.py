"""From the setting `state` to a store: which it is, what must be installed, and that no secret stands in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reconciler.manifest.urls import bad_store
from reconciler.problems import StateError
from reconciler.state.objects.store import ObjectStore
from reconciler.state.opening import open_store
from reconciler.state.postgres.store import PostgresStore
from reconciler.state.sqlite.store import SqliteStore
from tests.builders import PROJECT, Folder


def test_a_path_is_a_file_below_the_project(tmp_path: Path) -> None:
    store = open_store("states/prod.db", tmp_path, tmp_path / "work")
    assert isinstance(store, SqliteStore)
    assert store.path == str(tmp_path / "states" / "prod.db")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_is_known_by_its_url(tmp_path: Path, scheme: str) -> None:
    store = open_store(f"{scheme}://joe@db.example.com/search?schema=prod", tmp_path, tmp_path)
    assert isinstance(store, PostgresStore)
    assert store.where == "postgresql://joe@db.example.com/search?schema=prod"


@pytest.mark.parametrize("url", ["s3://bucket/prod", "gs://bucket/prod", "az://container/prod"])
def test_a_bucket_is_known_by_its_url(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    store = open_store(url, tmp_path, tmp_path)
    assert isinstance(store, ObjectStore)
    assert store.where == url
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("postgresql://host/db", "psycopg", "postgres"),
        ("s3://bucket/prefix", "obstore", "objects"),
        ("gs://bucket/prefix", "zstandard", "objects"),
    ],
)
def test_a_package_that_is_missing_is_named_with_how_to_get_it(
    tmp_path: Path, url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StateError) as caught:
        open_store(url, tmp_path, tmp_path)
    (problem,) = caught.value.problems
    assert problem.code == "store-package"
    assert f"needs {package}, which is not installed" in problem.what
    assert f"pip install 'reconciler[{extra}]'" in problem.fix


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///search",
        "postgres://joe@db.example.com:5433/search?schema=prod&sslmode=verify-full&sslkey=a/b",
        "s3://bucket/prefix?region=eu-west-1&endpoint=https://s3.example.com",
        "postgresql://joe@[::1]:5433,db2,10.0.0.1:5432/search",
        "postgresql://[fe80::1]/search",
        "gs://bucket/prefix",
        "az://container/prefix?account=search",
    ],
)
def test_what_a_project_may_say(url: str) -> None:
    assert bad_store(url) is None


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql://joe:hunter2@host/db", "secret-in-manifest"),
        ("postgresql://joe:hun/ter2?@host/db", "secret-in-manifest"),
        ("postgresql://host/db?Password=hunter2", "secret-in-manifest"),
        ("postgres://host/db?sslpassword=hunter2", "secret-in-manifest"),
        ("postgres://host/db?oauth_client_secret=hunter2", "secret-in-manifest"),
        ("postgres://host/db?scram_client_key=hunter2", "secret-in-manifest"),
        ("postgresql://joe:hunter2", "state-url"),
        ("postgresql://host:5432,joe:hunter2/db", "state-url"),
        ("postgresql:joe:hunter2@host/db", "state-url"),
        ("S3:/key:hunter2@bucket/prefix", "state-url"),
        ("s3://hunter2@bucket/prefix", "secret-in-manifest"),
        ("s3://bucket/prefix?endpoint=https://joe:hunter2@host", "secret-in-manifest"),
        ("az://container/prefix?sig=hunter2", "state-url"),
        ("s3://bucket/prefix?X-Amz-Signature=hunter2", "state-url"),
        ("mysql://host/db?password=hunter2", "state-store"),
        ("mysql://joe:hunter2@host/db", "secret-in-manifest"),
        ("memory://", "state-store"),
        ("file:///var/state.db", "state-store"),
    ],
)
def test_what_a_project_may_not_say_is_told_at_its_line_and_not_repeated(folder: Folder, url: str, code: str) -> None:
    folder.write("reconciler.yaml", PROJECT.replace("target: emulator", f"target: emulator, state: '{url}'"))
    ran = folder.ok("plan", code=1)
    assert f"reconciler.yaml:7:36: error[{code}]" in ran.err
    assert "hunter2" not in ran.err + ran.out
