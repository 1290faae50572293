"""Statistics of trades, computed in SQL: the sets of trades, the statements, and the GraphQL types."""
