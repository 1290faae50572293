"""Risk: the limits an account's bot keeps to, and how the account stands against them."""
