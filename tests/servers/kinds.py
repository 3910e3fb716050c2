"""The three servers: where each is installed, how it is started, what a client must have in its environment.

Each keeps what it stores in a folder that is thrown away, and listens on the loopback address alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import IO

import httpx

from tests.builders import REPOSITORY

INSTALLED = REPOSITORY / ".servers"
WEED = INSTALLED / "seaweedfs" / "bin" / "weed"
AZURITE = INSTALLED / "node" / "node_modules" / ".bin" / "azurite-blob"

PASSWORD = "not-a-secret"
BUCKET = "state"
# The account that Azurite always has; both are printed in its documentation.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

STARTED_WITHIN = 60.0  # seconds; it takes three on an idle machine


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started; `url` names the place in it to store things under, `settings` are environment.

    `ending` is the signal that ends it at once; `litter` is what it leaves outside its folder then.
    """

    process: subprocess.Popen[bytes]
    url: str
    settings: dict[str, str]
    ending: signal.Signals = signal.SIGKILL
    litter: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A server. `missing` says what is not installed, if anything; `start` takes a new folder and a log."""

    name: str
    missing: Callable[[], str]
    start: Callable[[Path, IO[bytes]], Running]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    until = time.monotonic() + STARTED_WITHIN
    try:
        while not ready():
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with {process.returncode}")
            if time.monotonic() > until:
                raise RuntimeError(f"the server was not ready after {STARTED_WITHIN:.0f} s")
            time.sleep(0.1)
    except BaseException:
        process.kill()
        raise


def _run(command: list[str | Path], folder: Path, log: IO[bytes], user: str | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, user=user, group=user
    )


# PostgreSQL, of the Debian package


def _postgres_programs() -> Path | None:
    """Return the folder of the newest server that is installed; Debian keeps it off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


def _postgres_user() -> str | None:
    """Return whom to run the server as: it refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def start_postgres(folder: Path, log: IO[bytes]) -> Running:
    """Start a server with one superuser, `tests`, who needs a password over TCP."""
    programs = _postgres_programs()
    assert programs is not None
    user = _postgres_user()
    password = folder / "password"
    password.write_text(PASSWORD)
    if user is not None:
        for path in (folder, password):
            shutil.chown(path, user)
    data = folder / "data"
    options = ["--username=tests", f"--pwfile={password}", "--auth-local=trust", "--auth-host=scram-sha-256"]
    initdb = [programs / "initdb", "--pgdata", data, *options, "--encoding=UTF8", "--locale=C", "--no-sync"]
    made = _run(initdb, folder, log, user)
    if made.wait(timeout=STARTED_WITHIN):
        raise RuntimeError("initdb failed")
    port = _free_port()
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "port": port, "fsync": "off"}
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = _run([programs / "postgres", "-D", data, *arguments], folder, log, user)
    ask = [programs / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(port)]
    _wait(process, lambda: subprocess.run(ask, check=False).returncode == 0)
    url = f"postgresql://tests@127.0.0.1:{port}/postgres"
    # SIGINT is its "fast" shutdown: it does not wait for clients.
    return Running(process, url, {"PGPASSWORD": PASSWORD}, ending=signal.SIGINT)


# SeaweedFS, of the Python registry


def start_seaweedfs(folder: Path, log: IO[bytes]) -> Running:
    """Start a server whose one user may do everything, and make a bucket."""
    credentials = [{"accessKey": "tests", "secretKey": PASSWORD}]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [{"name": "tests", "credentials": credentials, "actions": ["Admin"]}]}))
    data = folder / "data"
    data.mkdir()
    port = _free_port()
    options: list[str | Path] = [
        *("-filer", "-s3", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=100", "-volume.preStopSeconds=0"),
        *(f"-s3.config={config}", f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.localSocket={folder}/s3.sock", f"-filer.localSocket={folder}/filer.sock"),
        *(f"-{part}.port={_free_port()}" for part in ("master", "volume", "filer")),
    ]
    calls = {part: _free_port() for part in ("master", "volume", "filer", "s3")}
    options += [f"-{part}.port.grpc={number}" for part, number in calls.items()]
    # These have no option, and are in /tmp whatever TMPDIR says.
    sockets = tuple(Path(f"/tmp/seaweedfs-{part}-grpc-{number}.sock") for part, number in calls.items())
    process = _run([WEED, "server", *options], folder, log)
    settings = {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": PASSWORD,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    _wait(process, lambda: _makes_bucket(settings))
    return Running(process, f"s3://{BUCKET}", settings, litter=sockets)


def _makes_bucket(settings: dict[str, str]) -> bool:
    """Store an object, which makes the bucket; the S3 gateway answers before there is a disk to write to."""
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        endpoint=settings["AWS_ENDPOINT_URL"],
        access_key_id=settings["AWS_ACCESS_KEY_ID"],
        secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
        region=settings["AWS_REGION"],
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    try:
        obstore.put(store, "ready", b"")
    except BaseError:
        return False
    return True


# Azurite, of the Node registry


def start_azurite(folder: Path, log: IO[bytes]) -> Running:
    """Start a server that keeps everything in memory, and make a container."""
    port = _free_port()
    options = ["--blobPort", str(port), "--inMemoryPersistence", "--disableTelemetry", "--silent"]
    process = _run([AZURITE, *options], folder, log)
    endpoint = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
    settings = {
        "AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY,
        "AZURE_STORAGE_ENDPOINT": endpoint,
        "AZURE_ALLOW_HTTP": "true",
    }
    _wait(process, lambda: _makes_container(endpoint))
    return Running(process, f"az://{BUCKET}", settings)


def _makes_container(endpoint: str) -> bool:
    """Ask for a container; obstore, which stores objects, cannot make one."""
    date = formatdate(usegmt=True)
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{BUCKET}\nrestype:container"
    signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-12-02\n{resource}"
    digest = hmac.new(base64.b64decode(AZURE_KEY), signed.encode(), hashlib.sha256).digest()
    headers = {
        "Authorization": f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}",
        "x-ms-date": date,
        "x-ms-version": "2021-12-02",
        "Content-Length": "0",
    }
    try:
        answer = httpx.put(f"{endpoint}/{BUCKET}", params={"restype": "container"}, headers=headers, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 201


def _without(module: str, path: Path, how: str) -> str:
    from importlib.util import find_spec

    if find_spec(module) is None:
        return f"the package {module} is not installed"
    return "" if path.exists() else f"{path.relative_to(REPOSITORY)} is not there; {how}"


def _without_postgres() -> str:
    if _postgres_programs() is None:
        return "PostgreSQL is not installed; it is the Debian package postgresql"
    return _without("psycopg", REPOSITORY, "")


KINDS = {
    kind.name: kind
    for kind in (
        Kind("postgres", _without_postgres, start_postgres),
        Kind("s3", lambda: _without("obstore", WEED, "`make servers` installs it"), start_seaweedfs),
        Kind("azure", lambda: _without("obstore", AZURITE, "`make servers` installs it"), start_azurite),
    )
}
