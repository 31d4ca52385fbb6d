import asyncio
import ipaddress
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest

from bridge.road.hook import MAX_AT_ONCE, MAX_BODY, Entrance, Hooks
from bridge.road.road import Arrival, Forged, Hook, Limits, Receipt, Thanks, Unreadable
from bridge.setting import Endpoint

PUBLIC = "https://ringback.example.org"


class EchoRoad:
    """A road whose hooks say in their body what shall become of them."""

    limits = Limits()
    repeatable = False
    thanks = Thanks(202, b"<Response/>", "text/xml")

    def __init__(self) -> None:
        self.hooks: list[Hook] = []

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        self.hooks.append(hook)
        if hook.body == b"forged":
            raise Forged("so it says")
        if hook.body == b"odd":
            raise Unreadable("so it says")
        return (Arrival("1", "+1", "+2", hook.body.decode()),)

    def write(self, text: Any) -> Any:
        raise NotImplementedError

    def outcome(self, answer: Any) -> Any:
        raise NotImplementedError


class Store:
    """Where texts end up."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, Arrival | Receipt]] = []
        self.fails: Exception | None = None
        self.places = True
        self.ready = asyncio.Event()
        self.ready.set()

    async def receive(self, road: str, happenings: Sequence[Arrival | Receipt]) -> bool:
        await self.ready.wait()
        if self.fails is not None:
            raise self.fails
        self.texts += [(road, happening) for happening in happenings]
        return self.places


@pytest.fixture
def road() -> EchoRoad:
    return EchoRoad()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def hooks(road: EchoRoad, store: Store) -> AsyncIterator[Hooks]:
    hooks = Hooks(
        listen=Endpoint("127.0.0.1", 0),
        public_url=PUBLIC,
        entrances={"home": Entrance(road, "s3cret")},
        receiver=store.receive,
        proxies=[ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("10.0.0.0/8")],
        store_limit=0.2,
    )
    await hooks.start()
    yield hooks
    await hooks.stop()


async def push(
    hooks: Hooks, path: str = "/road/home/s3cret", *, body: bytes = b"hi", **more: Any
) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{hooks.port}{path}", data=body, **more) as response,
    ):
        return response.status, await response.read()


async def test_a_text_is_stored_and_then_acknowledged(
    hooks: Hooks, road: EchoRoad, store: Store
) -> None:
    assert await push(hooks, "/road/home/s3cret?a=%20b") == (202, b"<Response/>")
    assert store.texts == [("home", Arrival("1", "+1", "+2", "hi"))]
    (hook,) = road.hooks
    assert hook.url == f"{PUBLIC}/road/home/s3cret?a=%20b"
    assert hook.source == "127.0.0.1"


async def test_the_owner_is_told_what_to_enter(hooks: Hooks) -> None:
    assert hooks.url("home") == f"{PUBLIC}/road/home/s3cret"


@pytest.mark.parametrize(
    "path", ["/road/home/wrong", "/road/other/s3cret", "/road/other/none", "/road/home/", "/"]
)
async def test_a_wrong_address_is_nothing(
    hooks: Hooks, road: EchoRoad, store: Store, path: str
) -> None:
    status, _ = await push(hooks, path)
    assert status == 404
    assert not road.hooks


@pytest.mark.parametrize(("body", "status"), [(b"forged", 403), (b"odd", 400)])
async def test_what_cannot_be_used_is_refused(
    hooks: Hooks, store: Store, body: bytes, status: int
) -> None:
    assert (await push(hooks, body=body))[0] == status
    assert not store.texts


@pytest.mark.parametrize("error", [RuntimeError("disk full"), TimeoutError()])
async def test_what_cannot_be_stored_is_not_acknowledged(
    hooks: Hooks, store: Store, error: Exception
) -> None:
    store.fails = error
    assert (await push(hooks))[0] == 500


async def test_what_is_stored_too_late_is_stored_to_its_end(hooks: Hooks, store: Store) -> None:
    """The provider hears nothing good and repeats, and is then told that we have it: so we must."""
    store.ready.clear()
    assert (await push(hooks))[0] == 500
    assert not store.texts
    store.ready.set()
    await hooks.stop()  # waits for what is still being stored
    assert store.texts == [("home", Arrival("1", "+1", "+2", "hi"))]


async def test_what_is_still_being_stored_counts_as_work(
    hooks: Hooks, road: EchoRoad, store: Store
) -> None:
    store.ready.clear()
    answers = await asyncio.gather(*(push(hooks) for _ in range(MAX_AT_ONCE)))
    assert {status for status, _ in answers} == {500}
    assert (await push(hooks))[0] == 503
    assert len(road.hooks) == MAX_AT_ONCE
    store.ready.set()


async def test_what_has_no_place_yet_may_come_again(hooks: Hooks, store: Store) -> None:
    store.places = False
    assert (await push(hooks))[0] == 503


async def test_a_large_body_is_refused(hooks: Hooks, road: EchoRoad) -> None:
    assert (await push(hooks, body=bytes(MAX_BODY + 1)))[0] == 413
    assert not road.hooks


@pytest.mark.parametrize(
    ("forwarded", "source"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the first is the sender's own invention
        ("", "127.0.0.1"),
    ],
)
async def test_only_trusted_proxies_say_where_a_hook_came_from(
    hooks: Hooks, road: EchoRoad, forwarded: str, source: str
) -> None:
    await push(hooks, headers={"X-Forwarded-For": forwarded})
    assert road.hooks[-1].source == source
