"""A noun a file: its type, relations, batch reads, Query, Mutation, in that order."""
