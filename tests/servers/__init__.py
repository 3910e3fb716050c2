"""Real servers for the tests of the team stores: PostgreSQL, SeaweedFS for S3, Azurite for Azure Blob Storage.

python -m tests.servers up FOLDER        # prints `export` lines
python -m tests.servers down FOLDER
"""
