"""The command line: `graphql-api`. Each command is a door to another module, and does nothing itself."""

from graphql_api.cli.main import main

__all__ = ["main"]
