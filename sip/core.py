"""What all usages share."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection to the trunk as the agent sees it (compare RFC 5626 §3.1).

    Attributes:
        id: chosen by the driver, never used twice.
        transport: "TLS", "TCP" or "UDP".
        local_host: our end, as it goes into Via and Contact.
        local_port: our end.
        remote_host: the peer's address, for `received` and `rport` (RFC 3581); "" if unknown.
        remote_port: the peer's port.
    """

    id: int
    transport: str
    local_host: str
    local_port: int
    remote_host: str = ""
    remote_port: int = 0


class Ids(Protocol):
    """Where identifiers come from: unguessable in a driver, countable in a test."""

    def branch(self) -> str:
        """A transaction identifier that begins with the magic cookie z9hG4bK (RFC 3261 §8.1.1.7)."""

    def tag(self) -> str:
        """A tag (§19.3)."""

    def call_id(self) -> str:
        """A Call-ID (§8.1.1.4)."""

    def cnonce(self) -> str:
        """A client nonce (RFC 7616 §3.4)."""
