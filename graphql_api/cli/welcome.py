"""What a newcomer reads when the service has started."""

import json
import shlex

from graphql_api.cli.demo import PASSWORD
from graphql_api.dev.demo.desk import OPERATOR, TRADER

_QUERY = """
mutation Hello($email: String!, $password: String!) {
  login(email: $email, password: $password) {
    accessToken
    viewer { user { accounts { nodes {
      accountNumber
      sessions(first: 1) { nodes { startedAt trades(first: 3) { nodes { symbol direction pnl } } } }
    } } } }
  }
}
"""


def welcome(host: str, port: int) -> str:
    """The address, the demo logins, and a line to paste that queries it."""
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/graphql"
    request = {
        "query": " ".join(_QUERY.split()),
        "variables": {"email": TRADER, "password": PASSWORD},
    }
    curl = f"curl -s {url} -H 'content-type: application/json' -d {shlex.quote(json.dumps(request))}"
    return f"""
  GraphiQL   {url}
  Sign in    {TRADER} or {OPERATOR}, password {PASSWORD}
  Try it     {curl}
"""
