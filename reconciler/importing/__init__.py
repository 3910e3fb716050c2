"""What exists elsewhere, as manifests: Push API documents, and what a live remote shows."""
