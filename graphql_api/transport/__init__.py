"""What listens: HTTP, WebSocket and server-sent events, their limits, health and metrics."""
