"""Each provider as its documentation describes it, against our listener, carrier and database over
real HTTP: what it signs, wants to hear, repeats, refuses and reports (`tests/standin`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.road.desk import FRIEND, HOOK_URL, NOW, OURS, Desk, opened
from tests.standin.acme import Acme
from tests.standin.bandwidth import Bandwidth
from tests.standin.elks import Elks
from tests.standin.flowroute import Flowroute
from tests.standin.forgery import FORGERIES
from tests.standin.plivo import Plivo
from tests.standin.sipgate import Sipgate
from tests.standin.standin import RETRY_AFTER, Came, Covers, Fate, Signer, StandIn, Taken, Trouble
from tests.standin.telnyx import Telnyx
from tests.standin.twilio import Twilio
from tests.standin.voipms import VoipMs
from tests.standin.vonage_messages import VonageMessages
from tests.standin.vonage_sms import VonageSms, VonageSmsOfOld

ALL: list[type[StandIn]] = [
    Twilio,
    Telnyx,
    VoipMs,
    Bandwidth,
    VonageSms,
    VonageSmsOfOld,
    VonageMessages,
    Flowroute,
    Plivo,
    Elks,
    Acme,
    Sipgate,
]
HOOKS = [kind for kind in ALL if kind.has_hooks]
KEYLESS = [kind for kind in ALL if kind is not Acme]  # they know no repeat as one
RECEIPTS = [kind for kind in ALL if kind.has_receipts]
# What a send proves itself by; not what hooks are signed with.
SECRETS = ("token", "api_key", "password", "api_secret", "secret_key")
TEXT = "Grüße & more = 100% + 1? 👍 ok"


def make(kind: type[StandIn]) -> StandIn:
    provider = kind(HOOK_URL, clock=lambda: NOW, sleep=lambda seconds: asyncio.sleep(0))
    provider.patience_s = 30.0  # how fast we answer is measured elsewhere
    return provider


@pytest.fixture
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(make(request.param), tmp_path) as made:
        yield made


def each(kinds: list[type[StandIn]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "desk", kinds, indirect=True, ids=[kind.__name__ for kind in kinds]
    )


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - a thread's work and a socket's
            await asyncio.sleep(0.001)


# --- in


@each(HOOKS)
async def test_a_text_is_taken_at_the_first_try(desk: Desk) -> None:
    provider = desk.provider
    assert await provider.deliver(provider.text("1", FRIEND, OURS, TEXT)) == 1
    await until(desk.said)
    assert desk.said() == [TEXT]
    assert desk.matrix.sent[0].sender == "@tel_15551234567:example.org"
    assert not provider.sent_replies, "our answer made the provider send texts"


@each(HOOKS)
async def test_texts_that_come_twice_at_once_and_out_of_order_are_said_once(desk: Desk) -> None:
    provider = desk.provider
    pushes = [provider.text(str(n), FRIEND, OURS, f"text {n}") for n in range(5)]
    await asyncio.gather(*(provider.deliver(push) for push in (*reversed(pushes), *pushes)))
    assert await provider.deliver(pushes[2]) == 1  # a repeat is thanked for like the first
    await until(lambda: len(desk.said()) >= 5)
    assert sorted(desk.said()) == [f"text {n}" for n in range(5)]
    assert await desk.stored() == 5


@each(HOOKS)
async def test_what_cannot_be_stored_comes_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first two tries find no database."""
    provider, left = desk.provider, 2
    receive = desk.texting.receive_hook

    async def broken(*arguments: object) -> bool:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OSError("no space left on device")
        return await receive(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.texting, "receive_hook", broken)
    tries = await provider.deliver(provider.text("1", FRIEND, OURS, "hello"))
    if provider.tries < 3:
        # Twilio tries once by default: its list is what brings the text (see below).
        assert tries == 0
        return
    assert tries == 3
    await until(desk.said)
    assert desk.said() == ["hello"]


@pytest.mark.parametrize("kind", [Twilio, VoipMs, Sipgate])
async def test_a_list_brings_what_no_hook_did_and_nothing_twice(
    kind: type[StandIn], tmp_path: Path
) -> None:
    provider = make(kind)
    async with opened(provider, tmp_path) as desk:
        poller = desk.poller()
        asking = asyncio.create_task(poller.run())
        await until(lambda: poller.status == "up" and desk.slept)
        names = [f"text {n}" for n in range(110)]  # two pages where a page is a hundred
        for number, name in enumerate(names):
            provider.inbox.append(Came(NOW + number, f"c{number}", FRIEND, OURS, name))
        if provider.has_hooks:
            await provider.deliver(provider.text("c3", FRIEND, OURS, "text 3"))
        for turn in range(4):
            desk.turns.release()
            await until(lambda turn=turn: len(desk.slept) >= turn + 2)  # type: ignore[misc]
        await until(lambda: len(desk.said()) >= len(names))
        asking.cancel()
        assert sorted(desk.said()) == sorted(names)


# --- forged


@pytest.mark.parametrize("kind", HOOKS, ids=[kind.__name__ for kind in HOOKS])
async def test_no_forgery_is_taken(kind: type[StandIn], tmp_path: Path) -> None:
    """What the provider's proof covers, in every way to get around it; and the address without its
    secret, which is all that some have."""
    provider = make(kind)
    async with opened(provider, tmp_path) as desk:
        for number, forgery in enumerate(FORGERIES):
            if forgery.needs not in provider.covers:
                continue
            content = provider.content(f"f{number}", FRIEND, OURS, "an innocent text")
            status, _, body = await provider.push(forgery.make(provider, content))
            assert status in (400, 403), f"{forgery.name}: {status} {body!r}"
        good = provider.text("good", FRIEND, OURS, "an innocent text")
        for url in (HOOK_URL[:-1], f"{HOOK_URL}0", HOOK_URL.replace("acme", "acne")):
            assert (await provider.push(good, url))[0] == 404
        assert await desk.stored() == 0
        assert await provider.deliver(good) == 1


def test_there_are_twelve_forgeries_and_more() -> None:
    assert len({forgery.name for forgery in FORGERIES}) >= 12
    counts = {kind: sum(f.needs in kind.covers for f in FORGERIES) for kind in HOOKS}
    assert min(counts[Twilio], counts[Telnyx], counts[VonageSms]) >= 12


@pytest.mark.parametrize("age", [301.0, -301.0])
async def test_a_signature_of_telnyx_is_good_for_five_minutes(age: float, tmp_path: Path) -> None:
    provider = make(Telnyx)
    async with opened(provider, tmp_path) as desk:
        content = provider.content("1", FRIEND, OURS, "hello")
        push = provider.sign(content, HOOK_URL, Signer(at=NOW - age))
        assert (await provider.push(push))[0] == 403
        push = provider.sign(content, HOOK_URL, Signer(at=NOW - age * 0.95))
        assert (await provider.push(push))[0] == 200
        assert await desk.stored() == 1


# --- out


async def sent(desk: Desk, body: str = TEXT) -> Taken:
    """What the provider has of a text that the user writes."""
    await desk.write(await desk.portal(), body)
    await until(lambda: desk.shown() or desk.matrix.notices())
    assert [taken.body for taken in desk.provider.taken] == [body], desk.matrix.notices()
    return desk.provider.taken[0]


@each(ALL)
async def test_a_text_is_sent_as_documented(desk: Desk) -> None:
    taken = await sent(desk)
    assert taken.to.removeprefix("+").removeprefix("1") == FRIEND[2:]
    assert desk.shown() == ["SUCCESS"]
    assert desk.matrix.notices() == []


@each(ALL)
async def test_the_longest_text_is_taken_and_one_more_character_is_not_asked_for(
    desk: Desk,
) -> None:
    longest = min(desk.road.limits.characters, 10 * 153)
    assert desk.road.limits.characters <= desk.provider.longest
    await sent(desk, "x" * longest)
    await desk.write(await desk.portal(), "x" * (desk.road.limits.characters + 1), "$t2")
    await until(desk.matrix.notices)
    assert len(desk.provider.taken) == 1


@each(RECEIPTS)
async def test_its_delivery_is_shown_whatever_order_the_reports_come_in(desk: Desk) -> None:
    taken = await sent(desk)
    for fate in (Fate.DELIVERED, Fate.SENT, Fate.DELIVERED):
        assert await desk.provider.tell(taken, fate) == 1
    await until(lambda: "DELIVERED" in desk.shown())
    assert desk.shown() == ["SUCCESS", "DELIVERED"]
    assert desk.matrix.notices() == []


@each(RECEIPTS)
async def test_a_delivery_that_is_reported_before_the_answer_is_shown(desk: Desk) -> None:
    desk.provider.troubles = [Trouble.EAGER]
    await sent(desk)
    await until(lambda: "DELIVERED" in desk.shown())
    assert desk.matrix.notices() == []


@each(RECEIPTS)
async def test_its_loss_is_told_once_with_a_reason(desk: Desk) -> None:
    taken = await sent(desk)
    for fate in (Fate.SENT, Fate.LOST, Fate.LOST):
        assert await desk.provider.tell(taken, fate) == 1
    await until(desk.matrix.notices)
    await until(lambda: "FAIL_PERMANENT" in desk.shown())
    (notice,) = desk.matrix.notices()
    assert "not delivered" in notice.lower()


@each(RECEIPTS)
async def test_a_report_with_a_forged_proof_changes_nothing(desk: Desk) -> None:
    provider = desk.provider
    if not provider.covers & {Covers.KEY, Covers.SOURCE}:
        pytest.fail("every provider with reports proves something")
    taken = await sent(desk)
    content = provider.report(taken, Fate.LOST)
    assert (await provider.push(content, taken.callback))[0] == 403
    assert desk.shown() == ["SUCCESS"]


@pytest.mark.parametrize("trouble", [Trouble.BUSY, Trouble.AWAY])
@each(ALL)
async def test_what_was_not_taken_is_sent_again_and_arrives_once(
    desk: Desk, trouble: Trouble
) -> None:
    desk.provider.troubles = [trouble, trouble]
    await sent(desk)
    assert desk.shown() == ["SUCCESS"]
    assert len(desk.slept) == 2
    if trouble is Trouble.BUSY and "Retry-After" in desk.provider.busy().headers:
        assert min(desk.slept) >= RETRY_AFTER


async def doubted(desk: Desk, trouble: Trouble) -> None:
    desk.provider.troubles = [trouble]
    await sent(desk)
    await until(desk.matrix.notices)
    (notice,) = desk.matrix.notices()
    assert "may not have" in notice
    assert desk.shown() == ["FAIL_PERMANENT"]
    assert len(desk.provider.taken) == 1


@pytest.mark.parametrize("trouble", [Trouble.GATEWAY, Trouble.CUT])
@each(KEYLESS)
async def test_what_may_have_been_taken_is_a_doubt_and_never_doubled(
    desk: Desk, trouble: Trouble
) -> None:
    await doubted(desk, trouble)


async def test_a_provider_that_takes_a_text_and_falls_silent_leaves_a_doubt(tmp_path: Path) -> None:
    async with opened(make(Twilio), tmp_path, patience=0.2) as desk:
        await doubted(desk, Trouble.SILENT)


@pytest.mark.parametrize("trouble", [Trouble.GATEWAY, Trouble.CUT, Trouble.BROKEN])
@each([Acme])
async def test_a_provider_that_knows_repeats_is_asked_again_and_has_one_text(
    desk: Desk, trouble: Trouble
) -> None:
    desk.provider.troubles = [trouble, trouble]
    await sent(desk)
    assert desk.shown() == ["SUCCESS"]
    assert desk.matrix.notices() == []


@each(KEYLESS)
async def test_a_provider_that_breaks_leaves_a_doubt(desk: Desk) -> None:
    desk.provider.troubles = [Trouble.BROKEN]
    await desk.write(await desk.portal(), "hello")
    await until(desk.matrix.notices)
    assert "may not have" in desk.matrix.notices()[0]
    assert desk.provider.taken == []


@pytest.mark.parametrize("kind", ALL, ids=[kind.__name__ for kind in ALL])
async def test_wrong_credentials_are_told_in_words(kind: type[StandIn], tmp_path: Path) -> None:
    provider = make(kind)
    wrong: dict[str, dict[str, Any]] = {
        road: {
            name: "wrong-credentials-0123456789" if name in SECRETS else value
            for name, value in account.items()
        }
        for road, account in provider.section().items()
    }
    if kind is Acme:
        wrong["generic"]["send"] |= {"secret": "wrong"}
    async with opened(provider, tmp_path, wrong) as desk:
        await desk.write(await desk.portal(), "hello")
        await until(desk.matrix.notices)
        assert provider.taken == []
        words = desk.matrix.notices()[0].lower()
        assert "not delivered" in words
        assert "credentials" in words or "who are you" in words


@each(ALL)
async def test_a_provider_that_is_not_there_is_tried_again(desk: Desk) -> None:
    port, desk.provider.port = desk.provider.port, 9
    await desk.write(await desk.portal(), "hello")
    await until(lambda: len(desk.slept) > 1)
    desk.provider.port = port
    await until(lambda: desk.provider.taken)
    await until(lambda: "SUCCESS" in desk.shown())
    assert [taken.body for taken in desk.provider.taken] == ["hello"]


def test_the_stand_ins_do_not_know_the_bridge() -> None:
    """They could not find a mistake of ours otherwise."""
    folder = Path(__file__).parents[2] / "standin"
    assert not [path for path in folder.glob("*.py") if "from bridge" in path.read_text()]
