"""`reconciler emulator` as a process of its own: one line when ready, a clean end, data that stays."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.emulator.options import Doubts
from tests.builders import KEY, ORGANIZATION, SHARED_ID, SOURCE_ID, Folder, child_environment, command_line, run_here

SERVED = ("--organization", "acme", "--source", "docs", "--source", "open:shared", "--provider", "corp")
MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: https://example.com/a, title: A, permissions: {allowed: [user:alice@example.com]}, body: {text: hello}}
"""


class Served:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 30)
        self.url = process.stdout.readline().rstrip("\n") if ready else ""
        assert re.fullmatch(r"http://\S+:\d+", self.url), process.communicate(timeout=5)

    def get(self, path: str, key: str = KEY) -> httpx.Response:
        return httpx.get(self.url + path, headers={"Authorization": f"Bearer {key}"}, trust_env=False)

    def items(self, organization: str, source: str) -> list[str]:
        state: Any = self.get("/_emulator/state").json()
        return [item["uri"] for item in state["organizations"][organization]["sources"][source]["items"]]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Return the exit code and what else was written to stdout and stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def served(*arguments: str, key: str | None = KEY, **variables: str) -> Iterator[Served]:
    changes = {"RECONCILER_EMULATOR_API_KEY": key, **variables} if key is not None else variables
    process = subprocess.Popen(
        command_line(*arguments),
        env=child_environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate()


def refused(*arguments: str, code: int = 2) -> str:
    ran = run_here("emulator", "--port", "0", *arguments)
    assert (ran.code, ran.out) == (code, ""), ran.err
    return ran.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_line_then_a_clean_end(number: int) -> None:
    with served("emulator", "--port", "0", *SERVED) as emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
        state = emulator.get("/_emulator/state").json()["organizations"]
        assert list(state) == ["acme"]
        assert set(state["acme"]["sources"]) == {"docs", "open"}
        code, out, err = emulator.stop(number)
    assert (code, out) == (0, "")
    assert KEY not in err
    assert "--data DIR keeps it" in err


def test_stops_with_a_connection_open() -> None:
    with served("emulator", "--port", "0", *SERVED) as emulator, httpx.Client(trust_env=False) as client:
        client.get(emulator.url + "/_emulator/state")
        assert emulator.stop()[0] == 0


def test_random_key_is_told_on_stderr() -> None:
    with served("emulator", "--port", "0", *SERVED, key=None) as emulator:
        assert emulator.process.stderr is not None
        told = re.fullmatch(r"API key: (\S+) .*RECONCILER_EMULATOR_API_KEY.*\n", emulator.process.stderr.readline())
        assert told
        path = "/push/v1/organizations/acme/files"
        headers = {"Authorization": f"Bearer {told.group(1)}"}
        assert httpx.post(emulator.url + path, headers=headers, trust_env=False).status_code == 201
        wrong = {"Authorization": "Bearer wrong"}
        assert httpx.post(emulator.url + path, headers=wrong, trust_env=False).status_code == 401


def test_applied_data_survives_a_restart(folder: Folder, tmp_path: Path) -> None:
    folder.write("items.yaml", MANIFEST)
    arguments = ("-C", str(folder.root), "emulator", "--project", "--port", "0", "--data", str(tmp_path / "data"))
    with served(*arguments) as emulator:
        folder.at(emulator.url)
        folder.ok("apply", "--auto-approve")
        assert emulator.items(ORGANIZATION, SOURCE_ID) == ["https://example.com/a"]
        assert emulator.stop()[0] == 0
    with served(*arguments) as emulator:
        assert emulator.items(ORGANIZATION, SOURCE_ID) == ["https://example.com/a"]


def test_killed_it_still_keeps_what_it_accepted(folder: Folder, tmp_path: Path) -> None:
    folder.write("items.yaml", MANIFEST)
    arguments = ("-C", str(folder.root), "emulator", "--project", "--port", "0", "--data", str(tmp_path / "data"))
    with served(*arguments) as emulator:
        folder.at(emulator.url)
        folder.ok("apply", "--auto-approve")
        emulator.stop(signal.SIGKILL)
    with served(*arguments) as emulator:
        assert emulator.items(ORGANIZATION, SOURCE_ID) == ["https://example.com/a"]


def test_project_and_more(folder: Folder) -> None:
    arguments = ("emulator", "--project", "-C", str(folder.root), "--port", "0", "--source", "more", "--provider", "p2")
    with served(*arguments, "--organization", "acme") as emulator:
        state = emulator.get("/_emulator/state").json()["organizations"]
        assert list(state) == [ORGANIZATION, "acme"]
        assert set(state["acme"]["sources"]) == {SOURCE_ID, SHARED_ID, "more"}


def test_delay(folder: Folder) -> None:
    folder.write("items.yaml", MANIFEST)
    with served("-C", str(folder.root), "emulator", "--project", "--port", "0", "--delay", "3600") as emulator:
        folder.at(emulator.url)
        folder.ok("apply", "--auto-approve")
        assert emulator.items(ORGANIZATION, SOURCE_ID) == []


def test_sources_get_a_provider_and_a_visibility() -> None:
    from reconciler.cli.emulator import _Asked, _options

    made = _options(_Asked(("acme",), ("a", "b:Shared", "c:private"), ("p1", "p2"), None, 2.0), None)
    assert [tuple(source)[:3] for source in made.sources] == [
        ("a", "SECURED", "p1"),
        ("b", "SHARED", None),
        ("c", "PRIVATE", None),
    ]
    assert made.organizations == ("acme",)
    assert made.delay == 2.0
    assert list(made.provider_table) == ["Email Security Provider", "p1", "p2"]
    alone = _options(_Asked((), ("a",), (), None, 0.0), None)
    assert (alone.organizations, tuple(alone.sources[0])[:3]) == (("local",), ("a", "SECURED", None))


def test_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = run_here("emulator", "--source", "x", "--port", str(taken.getsockname()[1]))
    assert (ran.code, ran.out) == (2, "")
    assert "error[port-in-use]" in ran.err
    assert "--port 0" in ran.err


def test_folder_that_another_serves(tmp_path: Path) -> None:
    with served("emulator", "--port", "0", *SERVED, "--data", str(tmp_path)):
        assert "another emulator serves it" in refused("--source", "x", "--data", str(tmp_path))


def test_unusable_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "error[data-unusable]" in refused("--source", "x", "--data", str(tmp_path / "file"))
    assert "error[data-unusable]" in refused("--source", "x", "--data", str(tmp_path / "file" / "below"))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "emulator.db").write_bytes(b"this is no database " * 100)
    assert "not a database" in refused("--source", "x", "--data", str(tmp_path / "foreign"))
    (tmp_path / "odd" / "emulator.db").mkdir(parents=True)
    assert "error[data-unusable]" in refused("--source", "x", "--data", str(tmp_path / "odd"))


def test_read_only_folder(plain_user: Path) -> None:
    (plain_user / "locked").mkdir(mode=0o500)
    assert "error[data-unusable]" in refused("--source", "x", "--data", str(plain_user / "locked"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--source", "x:secret"), "bad-source"),
        (("--source", ""), "bad-source"),
        (("--source", ":shared"), "bad-source"),
        (("--source", "a/b"), "bad-source"),
        (("--source", "x", "--source", "x:shared"), "bad-source"),
        (("--source", "x", "--organization", ""), "bad-id"),
        (("--provider", "a\nb"), "bad-id"),
        ((), "nothing-to-serve"),
        (("--source", "x", "--api-key", "two words"), "api-key-unusable"),
        (("--source", "x", "--api-key", ""), "api-key-unusable"),
        (("--source", "x", "--host", "999.1.1.1"), "cannot-listen"),
        (("--source", "x", "--host", "."), "cannot-listen"),
        (("--project", "-C", "/nowhere"), "no-folder"),
    ],
    ids=str,
)
def test_clear_errors(arguments: tuple[str, ...], code: str) -> None:
    err = refused(*arguments)
    assert f"error[{code}]" in err
    assert "two words" not in err


@pytest.mark.parametrize("arguments", [("--port", "70000"), ("--delay", "-1"), ("--delay", "nan"), ("--delay", "inf")])
def test_wrong_numbers(arguments: tuple[str, ...]) -> None:
    assert run_here("emulator", "--source", "x", *arguments).code == 2


def test_other_hosts_are_warned_of() -> None:
    with served("emulator", "--port", "0", *SERVED, "--host", "0.0.0.0") as emulator:
        assert "warning" in emulator.stop()[2]


def test_help_says_where_a_key_belongs() -> None:
    told = run_here("emulator", "--help").out
    assert "RECONCILER_EMULATOR_API_KEY" in told
    assert "command line" in " ".join(told.split())


# -- strict, limited, faulty -----------------------------------------------------------------------

FILES = "/push/v1/organizations/acme/files"


def post(emulator: Served, path: str = FILES, key: str = KEY) -> httpx.Response:
    return httpx.post(emulator.url + path, headers={"Authorization": f"Bearer {key}"}, trust_env=False)


def test_faults_and_limits_of_the_command_line() -> None:
    flags = ("--fault", "POST files: 503 x1", "--fault", "POST files: drop-before x1", "--rate", "1/day,9/60")
    with served("emulator", "--port", "0", *SERVED, *flags, "--item-quota", "5", "--fault-seed", "3") as emulator:
        assert post(emulator).status_code == 503
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            post(emulator)
        assert post(emulator).status_code == 201
        assert post(emulator).json()["errorCode"] == "TOO_MANY_REQUESTS"
        assert emulator.get("/_emulator/faults").json()["seed"] == 3
        limits = emulator.get("/rest/organizations/acme/limits/content").json()
        assert {key: entry["limit"] for key, entry in limits.items()} == {
            "pushApiMaximumDailyInvocations": 1,
            "numberOfDocumentsLimit": 5,
        }
        assert emulator.stop() == (0, "", "what is pushed is gone when it stops; --data DIR keeps it\n")


def test_a_project_may_be_served_with_faults(folder: Folder) -> None:
    flags = ("--project", "--fault", "PUT documents: 500", "--items-per-day", "1")
    with served("-C", str(folder.root), "emulator", "--port", "0", *flags) as emulator:
        assert [rule["rule"] for rule in emulator.get("/_emulator/faults").json()["rules"]] == ["PUT documents: 500"]


def test_keys_come_from_the_environment() -> None:
    flags = ("--key", "PUSHER=source-edit:docs", "--key", "READER=ORGANIZATION_VIEW, source-view")
    variables = {"PUSHER": "canary-of-pusher", "READER": "canary-of-reader"}
    with served("emulator", "--port", "0", *SERVED, *flags, **variables) as emulator:
        assert post(emulator, key="canary-of-pusher").status_code == 403
        assert post(emulator, key="canary-of-reader").status_code == 201
        status = "/push/v1/organizations/acme/sources/{}/status?statusType=IDLE"
        found = {
            (key, source): post(emulator, status.format(source), f"canary-of-{key}").status_code
            for key in ("pusher", "reader")
            for source in ("docs", "open")
        }
        assert found == {
            ("pusher", "docs"): 201,
            ("pusher", "open"): 403,
            ("reader", "docs"): 403,
            ("reader", "open"): 403,
        }
        assert "canary" not in "".join(map(str, emulator.stop()))


def test_a_paused_organization() -> None:
    with served("emulator", "--port", "0", *SERVED, "--organization", "idle", "--paused", "idle") as emulator:
        assert post(emulator).status_code == 201
        assert post(emulator, FILES.replace("acme", "idle")).json()["errorCode"] == "ORGANIZATION_IS_PAUSED"


def test_doubts_are_answered() -> None:
    with served("emulator", "--port", "0", *SERVED, "--doubt", "unknown_provider=accept") as emulator:
        body = {"identity": {"name": "a", "type": "USER"}}
        path = "/push/v1/organizations/acme/providers/nobody/permissions"
        headers = {"Authorization": f"Bearer {KEY}"}
        assert httpx.put(emulator.url + path, json=body, headers=headers, trust_env=False).status_code == 202


def test_doubts_are_listed_with_their_sections() -> None:
    ran = run_here("emulator", "--doubts")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert "equal_ordering_id=refuse|accept (default: refuse)" in lines
    assert len(lines) == 2 * len(fields(Doubts))
    assert all(line.startswith("    push-api.md ") for line in lines[1::2])


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--fault", "PUT documents: 999"), "bad-fault", '"999" is no status of an error'),
        (("--fault", "sometimes"), "bad-fault", "not of the form"),
        (("--fault", "POST fils: 503"), "bad-fault", 'did you mean "files"'),
        (("--rate", "fast"), "bad-rate", "published, trial or CALLS/day,CALLS/SECONDS"),
        (("--paused", "acm"), "bad-id", 'did you mean "acme"'),
        (("--doubt", "watermark=never"), "bad-doubt", "immediate or after delay"),
        (("--key", "PUSHER"), "bad-key", "VARIABLE=PRIVILEGE"),
        (("--key", "=source-edit"), "bad-key", "VARIABLE=PRIVILEGE"),
        (("--key", "NOT_THERE=source-edit"), "bad-key", "environment variable NOT_THERE is not set"),
        (("--key", "xx-secret=source-edit"), "bad-key", "before the = is not set"),
        (("--key", "COVEO_API_KEY=source-edt"), "bad-key", 'did you mean "source-edit"'),
        (("--key", "COVEO_API_KEY=source-edit:doc"), "bad-key", 'did you mean "docs"'),
        (("--key", "COVEO_API_KEY=source-edit", "--key", "COVEO_API_KEY=logs-view"), "bad-key", "given twice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_conduct_that_cannot_be_read(arguments: tuple[str, ...], code: str, told: str) -> None:
    err = refused(*SERVED, *arguments)
    assert f"error[{code}]" in err
    assert told in " ".join(err.split())
    assert "secret" not in err
    assert KEY not in err


@pytest.mark.parametrize("arguments", [("--items-per-day", "-1"), ("--item-quota", "x"), ("--fault-seed", "1.5")])
def test_counts_that_are_none(arguments: tuple[str, ...]) -> None:
    assert run_here("emulator", "--source", "x", *arguments).code == 2
