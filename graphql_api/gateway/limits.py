"""What a client may ask of the transports: sizes, counts and times."""

from dataclasses import dataclass, fields

from graphql_api.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. `Settings` has a field of each name, and describes it."""

    max_body_size: int
    max_header_size: int
    max_message_size: int
    max_concurrent_operations: int
    max_connections: int
    max_sockets: int
    max_socket_subscriptions: int
    receive_timeout: float
    send_timeout: float
    operation_timeout: float
    socket_init_timeout: float
    heartbeat: float
    identity_recheck: float
    drain_time: float
    shutdown_timeout: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """The limits that a deployment has set."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})
