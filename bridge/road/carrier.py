"""Carries requests to providers over HTTPS: the one place of the roads that sends.

What matters most is what an error means. A connection that never stood has carried nothing, and the
text may be tried again; anything later, a silence above all, leaves it open whether the provider
has the text. Redirects are not followed: a provider's interface has none, and the credentials of
one host are not another's.
"""

import logging
from collections.abc import Awaitable, Callable

import aiohttp
from yarl import URL

from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Departure,
    Later,
    Outcome,
    Road,
    RoadError,
    Taken,
    Unsure,
)
from bridge.unreached import why_unreached

log = logging.getLogger(__name__)

ANSWER_LIMIT = 30.0  # providers answer within a second; beyond this nobody waits any more
CONNECT_LIMIT = 10.0
# Requests to one provider; of each number one text is under way, and an answer takes a tenth of a
# second, so that this is some three hundred texts in a second.
AT_ONCE = 32
MAX_ANSWER = 256 * 1024  # octets; an answer is some hundred


class Carrier:
    """One HTTP client for all roads, from first use to `close`.

    Args:
        limit: seconds for one request, connection included.
    """

    def __init__(self, *, limit: float = ANSWER_LIMIT) -> None:
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def carry(
        self, road: Road, text: Departure, leaving: Callable[[], Awaitable[None]]
    ) -> Outcome:
        """Send a text.

        Args:
            leaving: awaited right before the bytes may leave.
        """
        request = road.write(text)
        await leaving()
        answer = await self.request(request)
        if not isinstance(answer, ApiAnswer):
            return answer
        try:
            return road.outcome(answer)
        except RoadError as error:
            # A success whose words are new is a success; a failure that nobody understands is open.
            log.warning("the answer of a provider cannot be read: %s", error)
            if 200 <= answer.status < 300:
                return Taken()
            return Unsure(f"the provider answered {answer.status}, which could not be read")

    async def request(
        self, request: ApiRequest, *, most: int = MAX_ANSWER
    ) -> ApiAnswer | Later | Unsure:
        """Do one request: the answer, or what its absence means.

        Args:
            most: octets of the answer; what is longer is cut.
        """
        try:
            async with self._open().request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._limit, connect=CONNECT_LIMIT),
            ) as response:
                body = b""
                while len(body) < most and (chunk := await response.content.readany()):
                    body += chunk
                headers = {name.lower(): value for name, value in response.headers.items()}
                return ApiAnswer(response.status, headers, body[:most])
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Later(f"the provider cannot be reached ({why_unreached(error)})")
        except TimeoutError:
            return Unsure("the provider did not answer in time")
        except aiohttp.ClientError as error:
            return Unsure(f"the connection to the provider failed ({type(error).__name__})")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"User-Agent": "Ringback"},
                connector=aiohttp.TCPConnector(limit_per_host=AT_ONCE),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
