"""The clients are locked: each archive by its hash, and none by an address."""

from __future__ import annotations

import json
import re
from pathlib import Path

HERE = Path(__file__).parent


def test_the_python_client_is_locked_by_hashes_alone() -> None:
    text = (HERE / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert any(entry.startswith("coveo-push-api-client") for entry in entries)
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_the_node_client_is_locked_by_hashes_alone() -> None:
    text = (HERE / "node" / "package-lock.json").read_text()
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    assert "node_modules/@coveo/push-api-client" in packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert "://" not in text
