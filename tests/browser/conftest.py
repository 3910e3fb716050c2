"""A browser for the tests of pages, skipped where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.browser.chromium import CHROMIUM, Chromium, chromium
from tests.conftest import ON_CI


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[Chromium]:
    if not CHROMIUM.exists():
        assert os.environ.get(ON_CI) != "true", "CI installs chromium, so this must run there"
        pytest.skip(f"{CHROMIUM} is not there; install the Debian package chromium")
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Chromium) -> Chromium:
    """A browser on a screen of usual size, whatever the test before did."""
    shared_browser.ask("Page.setBypassCSP", enabled=False)
    shared_browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    shared_browser.screen(1280)
    return shared_browser
