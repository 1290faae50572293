"""A file for each noun of the graph: type, relations, batch functions, Query, Mutation, in this order."""
