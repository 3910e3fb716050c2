"""Security identity providers: those of the options, and over them those that were made by calls (push-api.md 2.4)."""

from __future__ import annotations

from typing import Any

import orjson

from reconciler.emulator.database import Database
from reconciler.emulator.options import EMAIL_PROVIDER, EmulatorOptions, ProviderOptions

Model = dict[str, Any]
"""A provider as the API takes and shows it, without what is computed when it is shown."""


class ProviderTable:
    """The providers of every organization."""

    def __init__(self, options: EmulatorOptions, database: Database) -> None:
        self._options = options
        self._connection = database.connection

    def models(self, organization: str) -> dict[str, Model]:
        """Return the providers by their ids, those of the options first."""
        found = {entry.id: model_of(entry) for entry in self._options.provider_table.values()}
        rows = self._connection.execute(
            "SELECT name, model FROM providers WHERE organization = ? ORDER BY rowid", (organization,)
        )
        for name, model in rows:
            if model is None:
                found.pop(name, None)
            else:
                found[name] = orjson.loads(model)
        return found

    def put(self, organization: str, model: Model) -> None:
        """Create a provider or replace its settings."""
        self._write(organization, model["id"], orjson.dumps(model).decode())

    def delete(self, organization: str, name: str) -> None:
        self._write(organization, name, None)

    def _write(self, organization: str, name: str, model: str | None) -> None:
        self._connection.execute(
            "INSERT INTO providers VALUES (?, ?, ?)"
            " ON CONFLICT (organization, name) DO UPDATE SET model = excluded.model",
            (organization, name, model),
        )

    def linked(self, organization: str) -> dict[str, str]:
        """Return the providers that calls gave to sources, by the ids of the sources; the first counts."""
        found: dict[str, str] = {}
        for name, model in self.models(organization).items():
            for entry in model["referencedBy"]:
                if entry["type"] == "SOURCE":
                    found.setdefault(entry["id"], name)
        return found


def model_of(provider: ProviderOptions) -> Model:
    """Return the model of a provider of the options."""
    return {
        "id": provider.id,
        "name": provider.id,
        "displayName": provider.id,
        "type": "EMAIL" if provider.id == EMAIL_PROVIDER else "EXPANDED",
        "nodeRequired": False,
        "caseSensitive": provider.case_sensitive,
        "referencedBy": [],
        "cascadingSecurityProviders": {
            name: {"id": name, "name": name, "type": "EMAIL" if name == EMAIL_PROVIDER else "EXPANDED"}
            for name in provider.cascades_to
        },
    }


def options_of(model: Model) -> ProviderOptions:
    """Return what processing needs to know of a provider."""
    cascades = tuple(entry["id"] for entry in model["cascadingSecurityProviders"].values())
    return ProviderOptions(model["id"], cascades, model["caseSensitive"])
