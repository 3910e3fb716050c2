"""Large files beside thousands of small pages: the remote gets every byte, and little memory is taken."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.builders import KEY, ORGANIZATION, SHARED_ID, Folder, Remote, child_environment, command_line

MB = 1_000_000
PROJECT = f"""\
sources:
  blog: {{id: {SHARED_ID}, visibility: shared}}
environments:
  local: {{target: emulator, organization: {ORGANIZATION}}}
"""
PAGES = """\
defaults: {source: blog}
itemSets:
  - from: {files: "pages/*.html"}
    item: {uri: "https://x/{stem}", title: "{stem}"}
"""
MOST_MEMORY = 150 * 1024 * 1024
"""What a run may hold at once (resident), however large the files are."""


def write_pages(folder: Folder, count: int) -> dict[str, bytes]:
    """Write small pages and return their contents by uri."""
    pages = {f"https://x/p{n:05}": f"<title>{n}</title><p>{n * 7919} ".encode() * 20 for n in range(count)}
    (folder.root / "pages").mkdir()
    for uri, raw in pages.items():
        (folder.root / "pages" / f"{uri.rpartition('/')[2]}.html").write_bytes(raw)
    return pages


def digest(raw: bytes) -> dict[str, object]:
    return {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


@pytest.mark.slow
def test_large_and_small_bodies_arrive_byte_for_byte(tmp_path: Path, remote: Remote) -> None:
    folder = Folder(tmp_path / "project", PROJECT).at(remote)
    bodies = write_pages(folder, 3_000)
    bodies["https://x/large.bin"] = random.Random(1).randbytes(12 * MB)
    bodies["https://x/large.txt"] = ('Zeile "für" Zeile\t\x01\n' * (30 * MB // 21)).encode()
    folder.write("large.bin", bodies["https://x/large.bin"])
    folder.write("large.txt", bodies["https://x/large.txt"])
    folder.write(
        "items.yaml",
        PAGES
        + """\
items:
  - {uri: "https://x/large.bin", body: {file: large.bin}, fileExtension: .bin}
  - {uri: "https://x/large.txt", body: {file: large.txt}, fileExtension: .txt}
""",
    )
    folder.ok("plan", "--out", str(folder.root / "saved.plan"))
    since = remote.total
    folder.ok("apply", str(folder.root / "saved.plan"), "--auto-approve")

    # Two containers for the large ones, and one for the batch that names them.
    steps = [(entry["method"], entry["path"].rpartition("/")[2]) for entry in remote.requests(since)]
    assert [step for step in steps if step[1] in ("files", "batch")] == [("POST", "files")] * 3 + [("PUT", "batch")]
    held = remote.contents()["items"][SHARED_ID]
    assert {uri: item["body"] for uri, item in held.items()} == {uri: digest(raw) for uri, raw in bodies.items()}
    assert remote.logs() == []
    assert "No changes." in folder.ok("plan").out


@contextmanager
def served(data: Path) -> Iterator[str]:
    """An emulator in a process of its own: its address."""
    command = command_line(
        *("emulator", "--port", "0", "--organization", ORGANIZATION, "--source", f"{SHARED_ID}:shared"),
        *("--data", str(data)),
    )
    process = subprocess.Popen(
        command,
        env=child_environment(RECONCILER_EMULATOR_API_KEY=KEY),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


# A small process of its own: what it starts begins with its memory, not with that of the tests.
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


def peak_memory(folder: Folder, *arguments: str) -> int:
    """Run a command as a process of its own and return the bytes that it held at most."""
    command = [sys.executable, "-c", MEASURED, *command_line("-C", str(folder.root), *arguments)]
    ran = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


@pytest.mark.slow
def test_a_file_of_200_mb_and_ten_thousand_pages_take_little_memory(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "project", PROJECT)
    write_pages(folder, 10_000)
    noise = random.Random(2).randbytes(MB)
    with (folder.root / "large.pdf").open("wb") as file:
        file.write(b"%PDF-1.7\n")
        for number in range(20):
            # A tenth of it is noise, the rest are holes.
            file.seek(number * 10 * MB)
            file.write(noise)
        file.truncate(200 * MB)
    with (folder.root / "large.pdf").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    folder.write(
        "items.yaml",
        PAGES + 'items:\n  - {uri: "https://x/large.pdf", body: {file: large.pdf}, fileExtension: .pdf}\n',
    )
    with served(tmp_path / "served") as url:
        folder.at(url)
        assert peak_memory(folder, "apply", "--auto-approve", "--detail", "none") < MOST_MEMORY
        assert peak_memory(folder, "plan") < MOST_MEMORY
        state = httpx.get(f"{url}/_emulator/state", trust_env=False).json()
    [source] = state["organizations"][ORGANIZATION]["sources"].values()
    held = {item["uri"]: item["body"]["sha256"] for item in source["items"]}
    assert (len(held), held["https://x/large.pdf"]) == (10_001, sha256)
