"""The GraphQL service of a trading-bot platform."""

__version__ = "0.1.0"
