"""What every test may rely on: no network but loopback, the same environment everywhere, small projects.

Time and ids are given as arguments to what is tested; nothing here patches them.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.builders import Folder, Remote, start_remote

# Machines differ in speed, and several runs share one: a slow example is no failure.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("tests")

# Whether the run must not skip what a workstation may lack; kept under a name that no test sees wiped.
ON_CI = "RECONCILER_TESTS_ON_CI"
_WIPED = (
    *("CI", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES", "GITHUB_ACTIONS"),
    *("RECONCILER_DEBUG", "RECONCILER_PLAN_KEY", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"),
    *("LANG", "LANGUAGE", "PYTHONHASHSEED"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
)
_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Write the scenarios' goldens anew; read the difference."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the environment the same everywhere, before any test module is imported."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        os.environ[ON_CI] = "true"
    for name in list(os.environ):
        if name in _WIPED or name.startswith(("COVEO_", "LC_")):
            del os.environ[name]
    home = tempfile.mkdtemp(prefix="reconciler-tests-home-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ.update(HOME=home, TZ="UTC", LC_ALL="C.UTF-8", TERM="dumb", NO_PROXY="*")
    time.tzset()
    _refuse_network()


def _refuse_network() -> None:
    for name in ("connect", "connect_ex"):
        _guard(name, getattr(socket.socket, name))


def _guard(name: str, original: Callable[..., Any]) -> None:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family != getattr(socket, "AF_UNIX", None) and not str(address[0]).startswith(_LOOPBACK):
            raise AssertionError(f"a test wanted to reach {address!r}; tests speak to this machine only")
        return original(self, address)

    setattr(socket.socket, name, guarded)


NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty project folder; write files into it and run commands on it."""
    return Folder(tmp_path / "project")


@pytest.fixture
def plain_user() -> Iterator[Path]:
    """A folder of a user without privileges, whom this process is for the length of the test.

    Permissions mean nothing to root, and machines that run tests are often root.
    """
    with tempfile.TemporaryDirectory(prefix="reconciler-plain-") as name:
        if os.geteuid() != 0:
            yield Path(name)
            return
        os.chown(name, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


@pytest.fixture(scope="module")
def shared_remote() -> Iterator[Remote]:
    """One emulator for all tests of a module, in a thread and in memory; `remote` empties it."""
    with start_remote() as remote:
        yield remote


@pytest.fixture
def remote(shared_remote: Remote) -> Remote:
    """An emulator that was sent nothing yet."""
    shared_remote.reset()
    return shared_remote
