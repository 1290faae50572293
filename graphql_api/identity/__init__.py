"""Who asks, and what they may: users, logins, tokens, roles. Knows no GraphQL and no web."""
