"""Config-as-code for the content of a Coveo search organization."""

__version__ = "0.1.0"
