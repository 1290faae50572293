"""A service as Strawberry and SQLAlchemy document it: their router, the ORM, a dataloader per relation."""
