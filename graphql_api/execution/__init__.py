"""How operations run. Depends on Strawberry and graphql-core, on nothing of trading."""
