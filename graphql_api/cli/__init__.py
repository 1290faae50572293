"""The command line, `graphql-api`: `main` has the commands, and a module for each carries it out."""

from graphql_api.cli.main import main

__all__ = ["main"]
