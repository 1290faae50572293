"""What every transport needs: authentication, limits, deadlines, idempotency, metrics and masked errors.

Begin with gateway.py.
"""
