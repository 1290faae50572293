"""What features are made of: relations, pages, filters, scalars, errors, permissions."""
