"""What goes wrong with identities.

Each message is fit for whoever asked: it holds no secret, and says of nobody whether they exist.

    IdentityError
    ├── InvalidCredentialsError    this e-mail and password open nothing
    ├── InvalidTokenError          forged, revoked, or its user may not log in any more
    │   ├── ExpiredTokenError      was good, and is worth renewing
    │   └── UsedTwiceError         a refresh token in two hands, whose login has ended
    ├── RateLimitedError           too many attempts; says when to try again
    └── AdministrationError        an order of an administrator that can't be carried out
"""


class IdentityError(Exception):
    """Whoever asks is not let in, or an order about them can't be carried out."""


class InvalidCredentialsError(IdentityError):
    """The same for a wrong password, an unknown e-mail and a user who is not active."""

    def __init__(self) -> None:
        super().__init__("the e-mail or the password is wrong")


class InvalidTokenError(IdentityError):
    """A token that opens nothing: forged, cut short, revoked, or older than its user's password."""

    def __init__(self, message: str = "the token is not valid: log in again") -> None:
        super().__init__(message)


class ExpiredTokenError(InvalidTokenError):
    """A token whose time is over."""

    def __init__(self) -> None:
        super().__init__("the token has expired: renew it, or log in again")


class UsedTwiceError(InvalidTokenError):
    """A refresh token that must be in two hands. Its login, `family`, has ended."""

    def __init__(self, family: str) -> None:
        super().__init__()
        self.family = family


class RateLimitedError(IdentityError):
    """Too many attempts. `retry_after` is the time to wait in whole seconds, 1 at least."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts: try again in {retry_after} s")
        self.retry_after = retry_after


class AdministrationError(IdentityError):
    """An unknown user, an e-mail that is taken, a password that is too short, and the like."""
