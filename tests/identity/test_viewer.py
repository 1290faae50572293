import pytest

from graphql_api.identity.viewer import ANONYMOUS, NO_TENANT, LoginCredential, Role, Scope, Viewer, scopes_of

ID = "6f1f7a52-4c0e-4b6e-9d0a-0f6f3f0a9d11"


def viewer(*roles: Role, user_id: str | None = ID) -> Viewer:
    return Viewer(
        user_id=user_id, roles=frozenset(roles), scopes=scopes_of(roles), credential=LoginCredential("f")
    )


def test_a_user_reads_their_own_rows() -> None:
    assert viewer(Role.USER).tenant == ID


def test_a_user_changes_their_own_risk_settings() -> None:
    assert viewer(Role.USER).risk_tenant == ID


def test_an_operator_reads_every_tenants_rows() -> None:
    assert viewer(Role.USER, Role.OPERATOR).tenant is None


def test_an_operator_changes_only_their_own_risk_settings() -> None:
    assert viewer(Role.USER, Role.OPERATOR).risk_tenant == ID


def test_an_admin_changes_every_tenants_risk_settings() -> None:
    assert viewer(Role.USER, Role.ADMIN).risk_tenant is None


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
def test_operators_and_admins_read_logs(role: Role) -> None:
    assert Scope.LOGS_READ in scopes_of([role])


def test_a_user_does_not_read_logs() -> None:
    assert Scope.LOGS_READ not in scopes_of([Role.USER])


def test_only_admins_change_every_tenants_risk_settings() -> None:
    assert [role for role in Role if Scope.RISK_WRITE_ANY in scopes_of([role])] == [Role.ADMIN]


@pytest.mark.parametrize("scopes", [set(), {Scope.LOGS_READ}, {Scope.GRAPH_READ, Scope.RISK_WRITE}])
def test_a_service_without_a_user_and_without_a_scope_for_all_sees_no_tenants_rows(
    scopes: set[Scope],
) -> None:
    assert Viewer(scopes=frozenset(scopes)).tenant == NO_TENANT
    assert Viewer(scopes=frozenset(scopes)).risk_tenant == NO_TENANT


def test_a_service_for_a_user_sees_their_rows_only_with_the_scope() -> None:
    assert Viewer(user_id=ID, scopes=frozenset({Scope.LOGS_READ})).tenant == NO_TENANT
    assert Viewer(user_id=ID, scopes=frozenset({Scope.GRAPH_READ})).tenant == ID


def test_reading_every_tenants_rows_does_not_allow_to_change_them() -> None:
    assert Viewer(scopes=frozenset({Scope.GRAPH_READ_ANY})).risk_tenant == NO_TENANT


def test_an_anonymous_viewer_is_not_authenticated_and_reads_nothing() -> None:
    assert not ANONYMOUS.is_authenticated
    assert ANONYMOUS.tenant == ANONYMOUS.risk_tenant == NO_TENANT


def test_a_viewer_with_a_credential_is_authenticated() -> None:
    assert viewer(Role.USER).is_authenticated
