"""Why a web server could not be reached, in words for a person: those of aiohttp are for others."""

import socket

import aiohttp

from sip.io.tls import explain


def why_unreached(error: aiohttp.ClientError | TimeoutError) -> str:
    """A part of a sentence."""
    # Of the exceptions that aiohttp wraps, the certificate's says more than the system's.
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    if isinstance(cause, socket.gaierror) or isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return explain(cause) if isinstance(cause, BaseException) else type(error).__name__
