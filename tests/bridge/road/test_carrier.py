import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.road.carrier import MAX_ANSWER, Carrier
from bridge.road.generic import Form, Generic, Outward
from bridge.road.road import ApiAnswer, ApiRequest, Departure, Later, Refused, Taken, Unsure

TEXT = Departure("key", "+1", ("+2",), "hello & more")


class Provider:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b'{"id": 7}'
        self.headers: dict[str, str] = {}
        self.silent = asyncio.Event()
        self.hangs = False
        self.seen: list[bytes] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(await request.read())
        if self.hangs:
            await self.silent.wait()
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def server(provider: Provider) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", provider.answer)
    server = TestServer(app)
    await server.start_server()
    yield server
    provider.silent.set()
    await server.close()


@pytest.fixture
async def carrier() -> AsyncIterator[Carrier]:
    carrier = Carrier(limit=0.5)
    yield carrier
    await carrier.close()


def road(url: str) -> Generic:
    outward = Outward(url, {"t": "{text}"}, form=Form.FORM, id="id", error="error")
    return Generic(inward=None, outward=outward)


async def carried(carrier: Carrier, url: str) -> tuple[object, int]:
    """The outcome, and how often the text was said to leave."""
    left = 0

    async def leaving() -> None:
        nonlocal left
        left += 1

    return await carrier.carry(road(url), TEXT, leaving), left


async def test_a_text_is_carried(carrier: Carrier, server: TestServer, provider: Provider) -> None:
    assert await carried(carrier, str(server.make_url("/send"))) == (Taken("7"), 1)
    assert provider.seen == [b"t=hello+%26+more"]


async def test_a_refusal_is_told(carrier: Carrier, server: TestServer, provider: Provider) -> None:
    provider.status, provider.body = 422, b'{"error": "bad number"}'
    assert await carried(carrier, str(server.make_url("/"))) == (Refused("bad number"), 1)


async def test_a_provider_that_is_not_there_may_be_asked_again(carrier: Carrier) -> None:
    outcome, _ = await carried(carrier, "http://127.0.0.1:9/")
    assert isinstance(outcome, Later)


async def test_a_silent_provider_leaves_a_doubt(
    carrier: Carrier, server: TestServer, provider: Provider
) -> None:
    provider.hangs = True
    outcome, _ = await carried(carrier, str(server.make_url("/")))
    assert isinstance(outcome, Unsure)


async def test_a_redirect_is_not_followed(
    carrier: Carrier, server: TestServer, provider: Provider
) -> None:
    provider.status, provider.headers = 302, {"Location": str(server.make_url("/elsewhere"))}
    outcome, _ = await carried(carrier, str(server.make_url("/")))
    assert outcome == Refused("the provider answered 302")
    assert len(provider.seen) == 1


async def test_an_endless_answer_is_cut(
    carrier: Carrier, server: TestServer, provider: Provider
) -> None:
    provider.body = bytes(2 * MAX_ANSWER)
    answer = await carrier.request(ApiRequest("GET", str(server.make_url("/"))))
    assert isinstance(answer, ApiAnswer)
    assert len(answer.body) <= MAX_ANSWER
