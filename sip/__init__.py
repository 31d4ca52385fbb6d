"""A sans-IO SIP user agent for one trunk (RFC 3261), and below `sip.io` its driver on asyncio.

What it says is in `sip.events`; docs/sip.md shows how to write a phone with it.
"""

from sip.agent import Flow, Ids, UserAgent
from sip.errors import LocalError, RemoteError, SipError
from sip.events import Body
from sip.framing import Framer, Malformed, Ping
from sip.message import Message, Request, Response, parse_message
from sip.presentation import Presentation
from sip.session import Session
from sip.trunk import CallerId, TlsSettings, Trunk
from sip.uri import NameAddr, Uri

__all__ = [
    "Body",
    "CallerId",
    "Flow",
    "Framer",
    "Ids",
    "LocalError",
    "Malformed",
    "Message",
    "NameAddr",
    "Ping",
    "Presentation",
    "RemoteError",
    "Request",
    "Response",
    "Session",
    "SipError",
    "TlsSettings",
    "Trunk",
    "Uri",
    "UserAgent",
    "parse_message",
]
