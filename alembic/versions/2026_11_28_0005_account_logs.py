"""Two tables: which log lines are about which account, and how far the recorders have come.

Traders may read lines of some components that name their accounts, sessions or trades. A page of an account's
lines needs them in order, and an index of system_logs would cost the bot time for each line. So a process of
the service follows the log, after the bot has committed, and writes these rows (`domain/account_logs.py`).
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LOCKS = "nothing: the tables are new"

# The accounts that a line's details name, by keys at any depth that clients are shown; with a null among them
# if a named row doesn't exist or a name isn't a UUID. The names are looked up one by one, since PostgreSQL
# would estimate a million of them in a document, and read whole tables. For a function, it assumes the cost
# that is declared.
ACCOUNTS_NAMED_IN = r"""
CREATE OR REPLACE FUNCTION graphql_api.accounts_named_in(details jsonb) RETURNS uuid[]
    LANGUAGE plpgsql STABLE COST 1000 AS $$
BEGIN
    RETURN ARRAY(
        SELECT DISTINCT CASE left(named.key, 1)
            WHEN 'a' THEN (SELECT account.id FROM tradelocker_accounts account WHERE account.id = named.id)
            WHEN 's' THEN (SELECT account_id FROM trading_sessions session WHERE session.id = named.id)
            ELSE (SELECT account_id FROM trades trade
                  JOIN trading_sessions session ON session.id = trade.session_id WHERE trade.id = named.id)
            END
        FROM (
            SELECT pair ->> 'key' AS key,
                   CASE WHEN name #>> '{}' ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
                        THEN CAST(name #>> '{}' AS uuid) END AS id
            FROM jsonb_path_query(details,
                     '$.**{0 to 40} ? (@.type() == "object").keyvalue()
                      ? (@.key like_regex "^(account|session|trade)(_id|Id)s?$")') AS pair
            CROSS JOIN LATERAL jsonb_path_query(pair -> 'value', '$[*] ? (@.type() != "null")') AS name
            OFFSET 0
        ) AS named
    );
END $$
"""

# The user who owns all these accounts; null if they have several owners, or if no account is named.
OWNER_NAMED_IN = """
CREATE OR REPLACE FUNCTION graphql_api.owner_named_in(details jsonb) RETURNS uuid
    LANGUAGE plpgsql STABLE COST 1000 AS $$
DECLARE
    accounts uuid[] := graphql_api.accounts_named_in(details);
BEGIN
    IF array_position(accounts, NULL) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT CASE WHEN count(DISTINCT user_id) = 1 AND count(user_id) = cardinality(accounts)
                    THEN (array_agg(user_id))[1] END
        FROM tradelocker_accounts WHERE id = ANY (accounts));
END $$
"""

DECLARED_FUNCTIONS = {
    "graphql_api.accounts_named_in": ACCOUNTS_NAMED_IN,
    "graphql_api.owner_named_in": OWNER_NAMED_IN,
}


def upgrade() -> None:
    op.execute("""
        CREATE TABLE graphql_api.recorders (
            name TEXT PRIMARY KEY,
            cursor TEXT NOT NULL,
            state JSONB NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE graphql_api.account_logs (
            account_id UUID,
            at TIMESTAMP WITH TIME ZONE,
            id UUID,
            PRIMARY KEY (account_id, at, id)
        )
    """)
    op.execute("""
        CREATE TABLE graphql_api.unattributed_logs (
            id UUID PRIMARY KEY,
            noted_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
            retry_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP
        )
    """)
    op.execute("CREATE INDEX unattributed_logs_retry_at_idx ON graphql_api.unattributed_logs (retry_at)")
    for statement in DECLARED_FUNCTIONS.values():
        op.execute(statement)


def downgrade() -> None:
    for function in reversed(DECLARED_FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}(jsonb)")
    for table in ("unattributed_logs", "account_logs", "recorders"):
        op.execute(f"DROP TABLE graphql_api.{table}")
