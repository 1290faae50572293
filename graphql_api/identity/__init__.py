"""Users, logins, tokens and roles: who asks, and what they may do. Knows neither GraphQL nor HTTP."""
