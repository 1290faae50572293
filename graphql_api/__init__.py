"""The GraphQL service of a trading-bot platform."""
