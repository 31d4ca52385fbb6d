"""The user agent on asyncio: keeps a trunk's line up, and listens for trunks that call."""

from sip.io.client import TrunkClient, TrunkDown, TrunkStatus, TrunkUp
from sip.io.listener import Listener
from sip.io.probe import ProbeStep, probe

__all__ = [
    "Listener",
    "ProbeStep",
    "TrunkClient",
    "TrunkDown",
    "TrunkStatus",
    "TrunkUp",
    "probe",
]
