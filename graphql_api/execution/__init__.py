"""How operations run. Knows Strawberry and graphql-core, and nothing of trading."""
