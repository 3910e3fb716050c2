"""The emulator over real sockets: in this process, and as one of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from reconciler.emulator.database import UnreadableDatabase
from reconciler.emulator.server import BackgroundEmulator, EmulatorOptions, create_app, serve

OPTIONS = EmulatorOptions(
    organizations=("org",),
    sources=(("docs", "SHARED", None),),
    providers=(("people", ("Email Security Provider",)),),
    api_key="key",
)
DOCUMENTS = "/push/v1/organizations/org/sources/docs/documents"


def client(emulator: BackgroundEmulator) -> httpx.Client:
    return httpx.Client(base_url=emulator.url, headers={"Authorization": f"Bearer {emulator.api_key}"})


def test_a_batch_over_http() -> None:
    with BackgroundEmulator(OPTIONS) as emulator, client(emulator) as api:
        assert emulator.url.startswith("http://127.0.0.1:")
        container = api.post("/push/v1/organizations/org/files", json={}).json()
        assert container["uploadUri"].startswith(f"{emulator.url}/_storage/org/")
        content = b'{"addOrUpdate": [{"documentId": "http://a", "data": "x"}]}'
        uploaded = httpx.put(container["uploadUri"], content=content, headers=container["requiredHeaders"])
        assert uploaded.status_code == 200
        assert api.put(f"{DOCUMENTS}/batch", params={"fileId": container["fileId"]}).status_code == 202
        query = {"organizationId": "org", "viewAllContent": "1"}
        assert api.post("/rest/search/v2", params=query, json={}).json()["totalCount"] == 1


def test_an_upload_without_a_length() -> None:
    with BackgroundEmulator(OPTIONS) as emulator, client(emulator) as api:
        container = api.post("/push/v1/organizations/org/files").json()
        answer = httpx.put(container["uploadUri"], content=iter([b"x"]), headers=container["requiredHeaders"])
        assert answer.status_code == 411


def test_a_body_that_is_too_large() -> None:
    with BackgroundEmulator(OPTIONS) as emulator, client(emulator) as api:
        body = {"data": "x" * (7 * 1024 * 1024)}
        assert api.put(DOCUMENTS, params={"documentId": "http://a"}, json=body).status_code == 413
        assert api.put(DOCUMENTS, params={"documentId": "http://a"}, json={}).status_code == 202


def test_many_clients_at_once() -> None:
    with BackgroundEmulator(OPTIONS) as emulator:

        def push(worker: int) -> None:
            with client(emulator) as api:
                for number in range(50):
                    uri = f"http://{worker}/{number}"
                    assert api.put(DOCUMENTS, params={"documentId": uri}, json={"data": uri}).status_code == 202
                    if number % 10 == 0:
                        api.get("/_emulator/state")

        threads = [threading.Thread(target=push, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with client(emulator) as api:
            assert api.get("/_emulator/state").json()["organizations"]["org"]["sources"]["docs"]["count"] == 200


def test_two_at_once_and_again(tmp_path: Path) -> None:
    options = EmulatorOptions(organizations=("org",), sources=OPTIONS.sources, api_key="key", data_dir=tmp_path)
    with BackgroundEmulator(options) as first, BackgroundEmulator(OPTIONS) as second:
        assert first.url != second.url
        with client(first) as api:
            api.put(DOCUMENTS, params={"documentId": "http://a"}, json={})
    assert first.wait(0)
    with BackgroundEmulator(options) as again, client(again) as api:
        found = api.get("/_emulator/state").json()["organizations"]["org"]["sources"]["docs"]
        assert [item["uri"] for item in found["items"]] == ["http://a"]


def test_a_taken_port() -> None:
    with BackgroundEmulator(OPTIONS) as emulator, pytest.raises(OSError, match="in use"):
        serve(OPTIONS, "127.0.0.1", int(emulator.url.rpartition(":")[2]))


def test_a_database_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "emulator.db").write_bytes(b"something else, longer than a header " * 10)
    with pytest.raises(UnreadableDatabase, match="not a database of this emulator"):
        create_app(EmulatorOptions(data_dir=tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_stops_in_peace(number: signal.Signals) -> None:
    script = (
        "from reconciler.emulator.server import EmulatorOptions, serve\n"
        "serve(EmulatorOptions(api_key='key'), ready=lambda url: print(url, flush=True))\n"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        with httpx.Client() as api:
            assert api.get(url).status_code == 200
            process.send_signal(number)
            assert process.wait(10) == 0
        assert process.stderr.read() == ""
