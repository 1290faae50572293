"""Users, logins, tokens and roles: authentication and permissions. Nothing here knows of GraphQL or HTTP."""
