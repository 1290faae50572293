"""What every transport needs: who asks, limits, deadlines, idempotency, metrics, masked errors."""
