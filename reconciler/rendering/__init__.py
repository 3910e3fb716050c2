"""Plans, problems and events as text, Markdown and JSON."""
