"""HTTP, WebSocket and server-sent events: the ASGI application, its endpoints, and the server."""
