"""Logins: signing in and out, new tokens, and the viewer."""

from datetime import datetime
from typing import Annotated, Any

import strawberry

from graphql_api.domain.policy import USERS
from graphql_api.domain.user import User
from graphql_api.execution.fields import FromLoader, FromParent, declared, resolved
from graphql_api.identity.errors import (
    IdentityError,
    InvalidCredentialsError,
    InvalidTokenError,
    RateLimitedError,
)
from graphql_api.identity.tokens import IssuedTokens
from graphql_api.relational.context import Context
from graphql_api.relational.entity import loader_by_id
from graphql_api.relational.errors import ErrorCode, UserError
from graphql_api.relational.permissions import anyone, signed_in

Info = strawberry.Info[Context, None]


def _own_user(context: Context, _arguments: Any) -> Any:
    load = loader_by_id(context, USERS)
    return lambda viewer: None if viewer.user_id is None else load(viewer.user_id)


@strawberry.type(description="The user or service that sends the request.")
class Viewer:
    """Resolved from an `identity.viewer.Viewer`."""

    user: User | None = declared(
        "Their user; null for a service.",
        FromLoader(_own_user, row_loader=lambda context: loader_by_id(context, USERS)),
    )
    roles: list[str] = declared(
        "Their roles: user, operator or admin.", FromParent(lambda viewer: sorted(viewer.roles))
    )
    scopes: list[str] = declared(
        "The scopes that the viewer's roles and token allow, such as graph:read or logs:read.",
        FromParent(lambda viewer: sorted(viewer.scopes)),
    )


@strawberry.type(description="What became of a login.")
class AuthPayload:
    """Tokens, or the reasons why there are none."""

    access_token: str | None = strawberry.field(
        default=None, description="Goes with every request, as Authorization: Bearer …"
    )
    refresh_token: str | None = strawberry.field(
        default=None, description="Good for new tokens, once, by `refreshToken`."
    )
    expires_at: datetime | None = strawberry.field(default=None, description="When the access token ends.")
    viewer: Viewer | None = strawberry.field(default=None, description="Who has signed in.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why there are no tokens; empty if there are."
    )


@strawberry.type(description="What became of a logout.")
class LogoutPayload:
    """Has no error if the login had ended already."""

    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it failed; empty if it did not."
    )


def _viewer(context: Context, _arguments: Any) -> Any:
    return lambda _: context.viewer


@strawberry.type
class Query:
    viewer: Viewer = declared(
        "The user or service that sends the request.", FromLoader(_viewer), check=signed_in
    )


@strawberry.type
class Mutation:
    @resolved("Signs in with e-mail and password.", check=anyone)
    async def login(
        self,
        info: Info,
        email: Annotated[str, strawberry.argument(description="The user's address, in any case.")],
        password: Annotated[str, strawberry.argument(description="The user's password.")],
    ) -> AuthPayload:
        """Returns the same answer for a wrong password and for an unknown e-mail."""
        context = info.context
        try:
            tokens = await context.services.authenticator.login(email, password, address=context.client)
        except (InvalidCredentialsError, RateLimitedError) as error:
            return AuthPayload(user_errors=[_refusal(error)])
        return _signed_in(context, tokens)

    @resolved(
        "Exchanges a refresh token for new tokens. The old refresh token can't be used again.", check=anyone
    )
    async def refresh_token(
        self,
        info: Info,
        refresh_token: Annotated[str, strawberry.argument(description="The newest one of this login.")],
    ) -> AuthPayload:
        """Ends the login if the token was used before, since somebody else may have it."""
        try:
            tokens = await info.context.services.authenticator.refresh(refresh_token)
        except InvalidTokenError as error:
            return AuthPayload(user_errors=[_refusal(error)])
        return _signed_in(info.context, tokens)

    @resolved(
        ("Signs out: ends the login of the given refresh token or, without one, the login of the request."),
        check=anyone,
    )
    async def logout(
        self,
        info: Info,
        refresh_token: Annotated[
            str | None, strawberry.argument(description="The refresh token of the login to end.")
        ] = None,
        everywhere: Annotated[  # noqa: FBT002 - a GraphQL argument, always named
            bool, strawberry.argument(description="End all of the user's logins, on every device.")
        ] = False,
    ) -> LogoutPayload:
        """Ends logins, whose sockets are closed too."""
        context = info.context
        await context.services.authenticator.logout(
            context.viewer, refresh_token=refresh_token, everywhere=everywhere
        )
        return LogoutPayload()


def _signed_in(context: Context, tokens: IssuedTokens) -> AuthPayload:
    context.switch_viewer(tokens.viewer)
    return AuthPayload(
        access_token=tokens.access,
        refresh_token=tokens.refresh,
        expires_at=tokens.expires_at,
        viewer=tokens.viewer,  # type: ignore[arg-type]
    )


def _refusal(error: IdentityError) -> UserError:
    code = ErrorCode.RATE_LIMITED if isinstance(error, RateLimitedError) else ErrorCode.INVALID_CREDENTIALS
    return UserError(code=code, message=str(error), field=None)
