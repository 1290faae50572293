"""Statistics of trades, computed in SQL: of which trades, by what statements, and as the graph shows them."""
