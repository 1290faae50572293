"""Describes a database by PostgreSQL's catalog, as lines that can be compared."""

import asyncpg

# Every line is "kind name: definition". Names in `public` stand without it.
QUERY = """
WITH ours AS (
    SELECT n.oid, CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END AS prefix
    FROM pg_namespace n
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
), relations AS (
    SELECT c.*, o.prefix || c.relname AS name
    FROM pg_class c JOIN ours o ON o.oid = c.relnamespace
    WHERE o.prefix || c.relname !~ '^graphql_api[.](revision|breaking_revisions)'
)
SELECT format('schema %s:', nspname) FROM pg_namespace JOIN ours USING (oid)
WHERE nspname <> 'graphql_api'  -- made before the first revision, for Alembic's own table

UNION ALL SELECT format('relation %s: kind %s, persistence %s, row security %s, identity %s, options %s',
                        name, relkind, relpersistence, relrowsecurity, relreplident, reloptions)
FROM relations WHERE relkind <> 'i'

UNION ALL SELECT format('column %s.%s: %s, not null %s, default %s, identity %L, generated %L, collation %s',
                        r.name, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                        coalesce(pg_get_expr(d.adbin, d.adrelid), 'none'), a.attidentity, a.attgenerated,
                        a.attcollation::regcollation)
FROM relations r
JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
WHERE r.relkind IN ('r', 'v', 'm', 'p')

UNION ALL SELECT format('constraint %s.%s: %s', r.name, k.conname, pg_get_constraintdef(k.oid))
FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid
WHERE k.contype <> 'n'  -- the column says so, and PostgreSQL before 18 only there

UNION ALL SELECT format('index %s: %s, valid %s', r.name, pg_get_indexdef(r.oid), i.indisvalid)
FROM relations r JOIN pg_index i ON i.indexrelid = r.oid

UNION ALL SELECT format('statistics %s: %s', x.stxname, pg_get_statisticsobjdef(x.oid))
FROM relations r JOIN pg_statistic_ext x ON x.stxrelid = r.oid

UNION ALL SELECT format('view %s: %s', r.name, pg_get_viewdef(r.oid)) FROM relations r WHERE relkind = 'v'

UNION ALL SELECT format('trigger %s.%s: %s, enabled %s',
                        r.name, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled)
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal

UNION ALL SELECT format('rule %s.%s: %s', r.name, w.rulename, pg_get_ruledef(w.oid))
FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'

UNION ALL SELECT format('function %s%s: %s', o.prefix, p.proname, pg_get_functiondef(p.oid))
FROM pg_proc p JOIN ours o ON o.oid = p.pronamespace
WHERE p.proname NOT LIKE 'uuid_%'  -- an extension's, or a stand-in for it

UNION ALL SELECT format('type %s%s: %s', o.prefix, y.typname, y.typtype)
FROM pg_type y JOIN ours o ON o.oid = y.typnamespace WHERE y.typtype IN ('d', 'e', 'r')
"""


async def describe(connection: "asyncpg.Connection") -> set[str]:
    """Returns everything that a database defines, except Alembic's own table and the function for uuids."""
    return {row[0] for row in await connection.fetch(QUERY)}


def names(lines: set[str]) -> set[str]:
    """Returns the names in these lines."""
    return {line.partition(":")[0] for line in lines}
