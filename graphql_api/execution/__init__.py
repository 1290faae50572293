"""Validates, prices, compiles and runs operations. Needs Strawberry and graphql-core, nothing of trading."""
