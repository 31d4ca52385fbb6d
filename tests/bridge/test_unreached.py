import errno
import socket
import ssl
from typing import cast

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from bridge.unreached import why_unreached

KEY = cast(ConnectionKey, None)


def refused() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 18, "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            aiohttp.ClientConnectorError(
                KEY, OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")
            ),
            "connection refused: nothing listens at this address and port",
        ),
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(None, "Timeout while contacting DNS")),
            "its name is not known",
        ),
        (aiohttp.ClientConnectorError(KEY, socket.gaierror(-2, "?")), "its name is not known"),
        (aiohttp.ConnectionTimeoutError(), "no answer in time"),
        (aiohttp.ServerDisconnectedError(), "ServerDisconnectedError"),
    ],
)
def test_why_nobody_was_reached_is_said_in_words(
    error: aiohttp.ClientError | TimeoutError, words: str
) -> None:
    assert why_unreached(error) == words


def test_a_certificate_that_is_not_believed_is_said_to_be_that() -> None:
    words = why_unreached(aiohttp.ClientConnectorCertificateError(KEY, refused()))
    assert "certificate" in words
