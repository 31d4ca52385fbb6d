"""Hooks as providers send them."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlencode

from bridge.road.road import Hook

URL = "https://ringback.example.org/road/home/9f2c7d1e5b"
SOURCE = "198.51.100.7"


def hook(
    *,
    method: str = "POST",
    url: str = URL,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    source: str = SOURCE,
) -> Hook:
    return Hook(method, url, headers or {}, body, source)


def twilio_hook(
    fields: Mapping[str, str],
    token: str,
    *,
    url: str = URL,
    signed_url: str | None = None,
    header: str = "x-twilio-signature",
) -> Hook:
    """Signed as Twilio documents it: the address, then names and values in the names' order."""
    signed = (signed_url or url) + "".join(name + fields[name] for name in sorted(fields))
    digest = hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()
    headers = {header: base64.b64encode(digest).decode()}
    return hook(url=url, headers=headers, body=urlencode(fields).encode())
