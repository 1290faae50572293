from pathlib import Path

import pytest

from graphql_api.transport.graphql_transport_ws import CloseCode

PAGE = (Path(__file__).parents[2] / "docs" / "transports.md").read_text()


@pytest.mark.parametrize("code", CloseCode)
def test_every_close_code_is_explained(code: CloseCode) -> None:
    assert str(int(code)) in PAGE
