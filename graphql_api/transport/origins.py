"""Which web pages may call: browsers send the origin of the page, and ask or tell us before they let it.

Programs that aren't browsers send no Origin, and may send any.
"""

from collections.abc import Container

from starlette.middleware.cors import CORSMiddleware

from graphql_api.settings import normalized_origin


def may_connect(origin: str, host: str, allowed: Container[str]) -> bool:
    """Whether a page may open a WebSocket to us, which its browser leaves to us to decide."""
    return is_own(origin, host) or is_listed(origin, allowed)


def is_listed(origin: str, allowed: Container[str]) -> bool:
    """Whether an origin is among `allowed`, whose texts are normalized; "*" there stands for any."""
    if "*" in allowed:
        return True
    try:
        return normalized_origin(origin) in allowed
    except ValueError:
        return False


def is_own(origin: str, host: str) -> bool:
    """Whether a page of that origin comes from where it calls, which its request's Host names.

    Behind a balancer that ends TLS nothing says by which scheme it came: the origin's is taken for it.
    """
    scheme = origin.partition(":")[0]
    try:
        return normalized_origin(f"{scheme}://{host}") == normalized_origin(origin)
    except ValueError:
        return False


class CORS(CORSMiddleware):
    """Tells browsers which other origins' pages may read our answers."""

    def is_allowed_origin(self, origin: str) -> bool:
        """Whether pages of that origin may."""
        return is_listed(origin, self.allow_origins)
