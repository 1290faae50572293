"""PostgreSQL: addresses, connections, statements, tables and migrations. `database` is the front door."""
