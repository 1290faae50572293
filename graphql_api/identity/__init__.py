"""Users, logins, tokens and roles: authentication and permissions. Neither GraphQL nor HTTP."""
