"""Validates operations, computes what they may cost, compiles and runs them.

Depends on Strawberry and graphql-core, and on nothing of trading.
"""
