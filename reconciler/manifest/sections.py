"""The names of the top-level sections of manifest files."""

from __future__ import annotations

LIST_SECTIONS = (
    *("items", "itemSets", "groups", "virtualGroups", "users", "aliases", "accessTests"),
    *("moved", "removed"),
)
PROJECT_SECTIONS = (
    "manifests",
    "sources",
    "providers",
    "environments",
    "vars",
    "guardrails",
    "quotas",
    "fields",
    "policies",
    "lints",
)
SECTIONS = ("defaults", "permissions", *LIST_SECTIONS)
