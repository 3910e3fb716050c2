"""The emulator's description of its own endpoints, for tools that read OpenAPI."""
