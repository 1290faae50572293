import pytest

from tests.node import node_with
from tests.service.conftest import Service
from tests.transport.scripts import AUDITS, FOLDER, said

pytestmark = pytest.mark.slow


async def test_the_development_profile_passes_every_audit_of_graphql_over_http(service: Service) -> None:
    audits = await said(node_with(FOLDER), "audits.mjs", service.url)
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len(audits) == AUDITS
