"""From declared relations to SQL: entities and their tenancy, relations, pages, filters, scalars, errors.

Start with `relation`: it declares fields and loads them; `page_query` builds the SQL of lists.
"""
