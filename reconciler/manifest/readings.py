"""How the documents on who sees what are read for a project."""

from __future__ import annotations

from reconciler.manifest.project import Project
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings


def readings_of(project: Project) -> Readings:
    """Return how the documents are read for a project."""
    names = [provider.name for provider in project.providers if provider.id == EMAIL_PROVIDER]
    return Readings(
        email_provider=names[0] if names else EMAIL_PROVIDER,
        case_sensitive=frozenset(provider.name for provider in project.providers if provider.case_sensitive),
    )
