import pytest

from graphql_api.transport.content_negotiation import Media, negotiate


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", Media.JSON),
        ("*/*", Media.JSON),
        ("application/*", Media.JSON),
        ("application/json; charset=utf-8", Media.JSON),
        ("APPLICATION/JSON", Media.JSON),
        ("application/graphql-response+json", Media.RESPONSE),
        ("text/event-stream", Media.EVENTS),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Media.HTML),
        ("application/xml, application/json;q=0.1", Media.JSON),
        ("application/json, application/graphql-response+json", Media.JSON),
        ("application/json;q=0.9, application/graphql-response+json", Media.RESPONSE),
        ("application/json;q=0, text/event-stream;q=0.1", Media.EVENTS),
        ("application/json;q=much, text/event-stream;q=0.1", Media.EVENTS),
        ("application/json;q=nan, text/event-stream;q=0.1", Media.EVENTS),
        ("application/json;q=0", None),
        ("image/png", None),
        (";;,,=;q", None),
    ],
)
def test_the_best_of_our_media_types_that_the_client_accepts(accept: str, media: Media | None) -> None:
    assert negotiate(accept) is media
