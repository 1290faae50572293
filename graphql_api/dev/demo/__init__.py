"""Sample data that looks like that of real traders, and a simulated bot that adds to it."""
