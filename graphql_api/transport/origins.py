"""Which web pages may call, by the `Origin` that their browsers send.

It protects the users of browsers. Programs send none, or any.
"""

from collections.abc import Container

from starlette.middleware.cors import CORSMiddleware

from graphql_api.settings import normalized_origin


def may_connect(origin: str, host: str, allowed: Container[str]) -> bool:
    """Returns whether a page may open a WebSocket: browsers let any page open one to anywhere."""
    return is_own(origin, host) or is_listed(origin, allowed)


def is_listed(origin: str, allowed: Container[str]) -> bool:
    """Returns whether an origin is among `allowed`, which are normalized; "*" there stands for any."""
    if "*" in allowed:
        return True
    try:
        return normalized_origin(origin) in allowed
    except ValueError:
        return False


def is_own(origin: str, host: str) -> bool:
    """Returns whether a page calls the host that it comes from.

    Behind a proxy that ends TLS nothing says by which scheme the host was called, so it isn't compared.
    """
    scheme = origin.partition(":")[0]
    try:
        return normalized_origin(f"{scheme}://{host}") == normalized_origin(origin)
    except ValueError:
        return False


class CORS(CORSMiddleware):
    """Tells browsers which other origins' pages may call and read the answers."""

    def is_allowed_origin(self, origin: str) -> bool:
        return is_listed(origin, self.allow_origins)
