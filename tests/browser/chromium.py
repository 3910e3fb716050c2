"""A headless Chromium, spoken to over a pipe in its own protocol: no port, no driver, no other package.

The protocol can look at a page that forbids every script, which a page itself could not.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--no-proxy-server", "--hide-scrollbars", "--remote-debugging-pipe"),
)
_PATIENCE = 60.0

# What lies to the right of the screen, apart from what a scrolling box of its own holds.
BEYOND = """[...document.querySelectorAll('body *')].filter(
    element => !element.closest('pre, select, datalist, .scroll')
        && element.getBoundingClientRect().right > innerWidth + 0.5
).map(element => element.outerHTML.slice(0, 200))"""

# Whether a script that is put into the page runs, and whether a style does.
INJECTED = """(() => {
    const script = document.createElement('script');
    script.textContent = 'window.ran = "script"';
    document.body.append(script);
    document.body.insertAdjacentHTML('beforeend', '<button id="injected" onclick="window.ran = 1">x</button>');
    document.querySelector('#injected').click();
    document.body.insertAdjacentHTML('beforeend', '<p id="styled" style="color: rgb(1, 2, 3)">x</p>');
    return [window.ran ?? null, getComputedStyle(document.querySelector('#styled')).color === 'rgb(1, 2, 3)'];
})()"""


class Chromium:
    """One browser with one page."""

    def __init__(self, send: int, receive: int) -> None:
        self._send = send
        self._receive = receive
        self._number = 0
        self._left = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; what happens meanwhile is kept in `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._receive], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(self._receive, 1 << 20) if ready else b""
            if not piece:
                raise AssertionError("the browser says nothing more")
            self._left += piece
        whole, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(whole)
        if "method" in message:
            self.events.append(message)
        return message

    def screen(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Set the size of the screen in CSS pixels, and what the person prefers."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **metrics)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def open(self, url: str) -> None:
        """Go to an address and wait until the page has loaded."""
        self.events.clear()
        answer = self.ask("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self.loaded()

    def loaded(self) -> None:
        """Wait until a page has loaded since `events` was last cleared."""
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._read()

    def happened(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of every event of a kind since the page was asked for."""
        return [event["params"] for event in self.events if event["method"] == method]

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression comes to on the page, whatever the page itself may run."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, *, whole: bool = False) -> bytes:
        """Return the page as a PNG: what fits on the screen, or all of it."""
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def press(self, key: str) -> None:
        """Press and release a key that types nothing, such as Tab."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Start a browser with a profile of its own for the length of a `with` block."""
    to_browser, send = os.pipe()
    receive, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        # The browser reads from descriptor 3 and writes to 4.
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        process = subprocess.Popen(
            ["/bin/bash", "-c", script, "bash", *map(str, command)],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Chromium(send, receive)
        finally:
            os.close(send)
            os.close(receive)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
