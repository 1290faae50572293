"""Errors of logins, tokens and permissions.

Every message may be shown to the client: it holds no secret, and doesn't show whether a user exists.

    IdentityError
    ├── InvalidCredentialsError        wrong e-mail or password
    ├── InvalidTokenError              forged, revoked, or its user may not log in any more
    │   ├── ExpiredTokenError          was valid: renew it
    │   └── RefreshTokenReuseError     a refresh token that was used twice; its login has ended
    ├── RateLimitedError               too many attempts; says when to try again
    └── AdministrationError            a command of an administrator that can't be carried out
"""


class IdentityError(Exception):
    """Any error of this package."""


class InvalidCredentialsError(IdentityError):
    """A wrong password, an unknown e-mail or an inactive user: the client can't tell which."""

    def __init__(self) -> None:
        super().__init__("the e-mail or the password is wrong")


class InvalidTokenError(IdentityError):
    """A token that isn't valid: forged, cut short, revoked, or older than its user's password."""

    def __init__(self, message: str = "the token is not valid: log in again") -> None:
        super().__init__(message)


class ExpiredTokenError(InvalidTokenError):
    """A token that has expired."""

    def __init__(self) -> None:
        super().__init__("the token has expired: renew it, or log in again")


class RefreshTokenReuseError(InvalidTokenError):
    """A refresh token that was used twice, so that two parties must hold it. Its login has ended."""

    def __init__(self, login_id: str) -> None:
        super().__init__()
        self.login_id = login_id


class RateLimitedError(IdentityError):
    """Too many attempts. `retry_after` is the time to wait, in whole seconds, at least 1."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts: try again in {retry_after} s")
        self.retry_after = retry_after


class AdministrationError(IdentityError):
    """An unknown user, an e-mail that is taken, a password that is too short, and the like."""
