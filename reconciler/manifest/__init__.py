"""Reading what people write: files, YAML, the language, and the desired state it describes."""
