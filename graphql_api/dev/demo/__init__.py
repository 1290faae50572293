"""Sample data that looks like a real desk, and a simulated bot that keeps it alive."""
