"""The API over HTTP: one module for each part of it, behind the door that checks keys and bodies (`door.py`)."""
