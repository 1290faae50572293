from graphql_api.identity.viewer import ANONYMOUS, Viewer
from graphql_api.identity.viewer_cache import MOST, ViewerCache

SOMEONE = Viewer(user_id="someone")


def test_a_viewer_is_kept() -> None:
    cache = ViewerCache(30)
    cache.put(b"a", SOMEONE)
    assert cache.get(b"a") is SOMEONE


def test_another_is_unknown() -> None:
    cache = ViewerCache(30)
    cache.put(b"a", SOMEONE)
    assert cache.get(b"b") is None


def test_no_time_keeps_nobody() -> None:
    cache = ViewerCache(0)
    cache.put(b"a", SOMEONE)
    assert cache.get(b"a") is None


def test_a_viewer_is_forgotten_after_the_time() -> None:
    cache = ViewerCache(1e-9)
    cache.put(b"a", SOMEONE)
    assert cache.get(b"a") is None


def test_those_who_match_are_dropped() -> None:
    cache = ViewerCache(30)
    cache.put(b"a", SOMEONE)
    cache.put(b"b", ANONYMOUS)
    cache.drop(lambda viewer: viewer.user_id == "someone")
    assert (cache.get(b"a"), cache.get(b"b")) == (None, ANONYMOUS)


def test_the_longest_unused_make_room() -> None:
    cache = ViewerCache(30)
    for number in range(MOST):
        cache.put(number.to_bytes(4), SOMEONE)
    cache.get((0).to_bytes(4))
    cache.put(b"one more", SOMEONE)
    assert cache.get((0).to_bytes(4)) is SOMEONE
    assert cache.get((1).to_bytes(4)) is None
