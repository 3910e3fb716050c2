"""Makes the state file of a format version that is kept here: `python -m tests.state.formats.make NUMBER`.

Three runs with the commands of whichever reconciler is imported: a first apply, a second that changes and deletes, and
a third whose only call is taken by a remote that never answers, so that it is in doubt. Run by somebody, on some host.
"""

from __future__ import annotations

import gzip
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
KEY = "some-key"
# Names of the machine on which it is made do not belong into what is kept.
NAMELESS = """\
import socket, sys
socket.gethostname = lambda: "somewhere"
from reconciler.cli.main import main
sys.argv[0] = "reconciler"
main()
"""
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "COVEO_API_KEY": KEY,
    "RECONCILER_EMULATOR_API_KEY": KEY,
    **dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "somebody"),
}

PROJECT = """\
sources:
  handbook: {id: handbooksource, visibility: secured, provider: corp}
providers:
  corp: {id: corpprovider, cascadesTo: ["Email Security Provider"]}
environments:
  local: {target: TARGET, organization: someorganization}
guardrails: {deletes: 100%}
"""
FIRST = """\
defaults: {source: handbook, provider: corp}
permissions:
  staff: {allowed: ["group:Staff"]}
groups:
  - {name: Staff, members: ["user:alice@example.com", "group:Board"]}
  - {name: Board, members: ["user:bob@example.com"]}
aliases:
  - of: user:alice@example.com
    is: [{provider: Email Security Provider, identity: "user:alice@example.com"}]
items:
  - {uri: "x:1", title: One, body: {text: one}, permissions: staff}
  - {uri: "x:2", title: Two, permissions: staff, metadata: {author: Alice, size: 3}}
  - {uri: "x:3", title: Three, permissions: {allowed: ["group:Board"], denied: ["user:eve@example.com"]}}
"""
# Who is in Staff by Board is so no more, an item goes, another one is changed.
SECOND = "".join(line for line in FIRST.replace(', "group:Board"', "").splitlines(True) if "x:2" not in line)
SECOND = SECOND.replace("title: One", "title: Other")
THIRD = SECOND.replace("title: Other", "title: Doubtful")


class Silent(socketserver.BaseRequestHandler):
    """Lets a source say what it is doing, and never answers anything else."""

    def handle(self) -> None:
        while got := self.request.recv(65536):
            if got.startswith(b"POST ") and b"/status?" in got:
                self.request.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return


@contextmanager
def emulator() -> Iterator[str]:
    options = ("--organization", "someorganization", "--source", "handbooksource", "--provider", "corpprovider")
    line = [sys.executable, "-c", NAMELESS, "emulator", "--port", "0", *options]
    process = subprocess.Popen(line, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def make() -> bytes:
    """Return the state file after the three runs."""
    with tempfile.TemporaryDirectory() as name, emulator() as url:
        folder = Path(name)
        line = [sys.executable, "-c", NAMELESS, "apply", "--auto-approve"]
        for text in (FIRST, SECOND):
            (folder / "reconciler.yaml").write_text(PROJECT.replace("TARGET", url))
            (folder / "all.yaml").write_text(text)
            subprocess.run(line, env=ENVIRONMENT, check=True, cwd=name)
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as silent:
            threading.Thread(target=silent.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{silent.server_address[1]}"
            (folder / "reconciler.yaml").write_text(PROJECT.replace("TARGET", address))
            (folder / "all.yaml").write_text(THIRD)
            with subprocess.Popen(line, env=ENVIRONMENT, cwd=name) as run:
                time.sleep(4)  # long enough to write its intent and send the call
                run.kill()
            silent.shutdown()
        return (folder / ".reconciler" / "local.state.db").read_bytes()


if __name__ == "__main__":
    (HERE / f"version-{sys.argv[1]}.db.gz").write_bytes(gzip.compress(make(), mtime=0))
