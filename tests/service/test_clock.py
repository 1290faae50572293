"""A host whose clock is moved, by libfaketime."""

from pathlib import Path

import pytest

from tests.service.conftest import LOGIN, PASSWORD, Service

pytestmark = pytest.mark.slow

RENEW = "mutation ($token: String!) { refreshToken(refreshToken: $token) { accessToken } }"
VIEWER = "{ viewer { user { email } } }"
EMAIL = "trader@example.com"


@pytest.mark.parametrize("moved", ["-1h", "+1h"])
async def test_a_clock_that_was_moved_costs_a_renewal(service: Service, moved: str) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("there is no libfaketime (Debian's package faketime)")
    former = await service.user(EMAIL)
    answer = await service.ask(LOGIN, {"email": EMAIL, "password": PASSWORD})
    refresh = answer.json()["data"]["login"]["refreshToken"]

    service.stop()
    service.environment |= {"LD_PRELOAD": str(library), "FAKETIME": moved}
    await service.start()

    assert (await service.ask(VIEWER, token=former)).status_code == 401
    renewed = (await service.ask(RENEW, {"token": refresh})).json()["data"]["refreshToken"]["accessToken"]
    answer = await service.ask(VIEWER, token=renewed)
    assert answer.json() == {"data": {"viewer": {"user": {"email": EMAIL}}}}
    if moved.startswith("-"):
        assert "the clocks of the hosts differ too much" in service.log.read_text()
