"""Makes the measured projects: items in many files or one, groups, aliases and HTML pages.

The same arguments give the same bytes. Sizes follow an ordinary organization: an item has a title,
a date, a text, one to three allowed and at most one denied identity and five metadata.
"""

from __future__ import annotations

import random
from pathlib import Path

PROJECT = """\
sources:
  handbook: {id: benchsource, visibility: secured, provider: corp}
providers:
  corp: {id: benchprovider, cascadesTo: [Email Security Provider]}
environments:
  local: {target: "TARGET", organization: bench, apiKey: {env: RECONCILER_BENCH_KEY}}
guardrails: {deletes: 100%, widenedAccess: allow}
"""

WORDS = [
    "policy",
    "travel",
    "expense",
    "office",
    "remote",
    "security",
    "handbook",
    "quarterly",
    "review",
    "budget",
    "hiring",
    "team",
    "lead",
    "process",
    "release",
    "incident",
    "customer",
    "support",
    "contract",
    "legal",
    "finance",
    "payroll",
    "benefit",
    "training",
    "plan",
]


def item_text(number: int, rng: random.Random, *, groups: int, words: int = 12) -> str:
    """Return the manifest entry of one item."""
    allowed = ", ".join(f"group:g{rng.randrange(groups)}" for _ in range(rng.randint(1, 3)))
    denied = f"\n      denied: [user:u{rng.randrange(50_000)}@example.com]" if rng.random() < 0.5 else ""
    text = " ".join(rng.choice(WORDS) for _ in range(words))
    return (
        f"  - uri: https://example.com/docs/{number}\n"
        f"    title: {rng.choice(WORDS).title()} {number}\n"
        f"    body: {{text: {text}}}\n"
        f"    permissions:\n"
        f"      allowed: [{allowed}]{denied}\n"
        f"    metadata:\n"
        f"      author: {rng.choice(WORDS)} {rng.choice(WORDS)}\n"
        f"      date: 20{rng.randint(10, 25)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}T08:00:00Z\n"
        f"      language: [English]\n"
        f"      size: {rng.randint(100, 90_000)}\n"
        f"      department: {rng.choice(WORDS)}\n"
    )


def write_items(folder: Path, *, files: int, per_file: int, groups: int, words: int = 12) -> None:
    """Write `files` manifests of `per_file` items each."""
    for index in range(files):
        rng = random.Random(index)
        first = index * per_file
        entries = (item_text(first + n, rng, groups=groups, words=words) for n in range(per_file))
        header = "defaults: {source: handbook, provider: corp}\nitems:\n"
        (folder / f"items-{index:04}.yaml").write_text(header + "".join(entries))


def write_identities(folder: Path, *, groups: int, aliases: int, users: int = 50_000) -> None:
    """Write `groups` groups of ten members and `aliases` aliases, a thousand to a file."""
    rng = random.Random(7)
    _write_parts(
        folder,
        "groups",
        [
            f"  - name: g{n}\n    members: ["
            + ", ".join(f"user:u{rng.randrange(users)}@example.com" for _ in range(10))
            + "]\n"
            for n in range(groups)
        ],
    )
    _write_parts(
        folder,
        "aliases",
        [
            f"  - of: user:u{n}@example.com\n"
            f"    is: [{{provider: Email Security Provider, identity: user:u{n}@example.com}}]\n"
            for n in range(aliases)
        ],
    )


def _write_parts(folder: Path, section: str, entries: list[str]) -> None:
    for start in range(0, len(entries), 1000):
        text = f"defaults: {{provider: corp}}\n{section}:\n" + "".join(entries[start : start + 1000])
        (folder / f"{section}-{start // 1000:03}.yaml").write_text(text)


def write_pages(folder: Path, *, pages: int, size: int = 20_000) -> None:
    """Write an item set of `pages` HTML files of about `size` bytes."""
    content = folder / "content"
    content.mkdir(exist_ok=True)
    for number in range(pages):
        rng = random.Random(number)
        body = " ".join(rng.choice(WORDS) for _ in range(size // 8))
        (content / f"page-{number:05}.html").write_text(
            f"<!doctype html><html lang=en><head><title>Page {number}</title></head><body>{body}</body></html>"
        )
    (folder / "pages.yaml").write_text(
        "defaults: {source: handbook, provider: corp}\n"
        "permissions:\n  everyone-staff: {allowed: [group:g0]}\n"
        "itemSets:\n"
        "  - from: {files: 'content/**/*.html'}\n"
        "    item: {uri: 'https://example.com/{url_path}', title: '{html.title}',"
        " permissions: everyone-staff}\n"
    )


def write_large(folder: Path, *, number: int, size: int = 8_000_000) -> None:
    """Write items whose content is too large to stand in a call: half noise, half words, as documents are."""
    content = folder / "large"
    content.mkdir(exist_ok=True)
    for index in range(number):
        rng = random.Random(index)
        words = " ".join(rng.choice(WORDS) for _ in range(1000)).encode()
        (content / f"{index:04}.bin").write_bytes(rng.randbytes(size // 2) + words * (size // 2 // len(words)))
    (folder / "large.yaml").write_text(
        "defaults: {source: handbook, provider: corp}\n"
        "permissions:\n  large-staff: {allowed: [group:g0]}\n"
        "itemSets:\n"
        "  - from: {files: 'large/*.bin'}\n"
        "    item: {uri: 'https://example.com/{path}', fileExtension: .bin, permissions: large-staff}\n"
    )


def write_project(
    folder: Path,
    *,
    files: int,
    per_file: int,
    groups: int,
    aliases: int,
    pages: int = 0,
    words: int = 12,
    large: int = 0,
    target: str = "emulator",
) -> Path:
    """Write a whole project and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reconciler.yaml").write_text(PROJECT.replace("TARGET", target))
    write_items(folder, files=files, per_file=per_file, groups=groups, words=words)
    write_identities(folder, groups=groups, aliases=aliases)
    if pages:
        write_pages(folder, pages=pages)
    if large:
        write_large(folder, number=large)
    return folder
