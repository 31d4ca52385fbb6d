"""The lab's fixtures: one lab and one browser for the whole session, on one event loop."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.lab.asterisk import Asterisk
from tests.lab.baresip import Baresip
from tests.lab.browser import Browser, Phone
from tests.lab.collection import mark
from tests.lab.lab import Lab
from tests.lab.matrix import MatrixUser
from tests.lab.peer import Peer
from tests.lab.ringback import Ringback

HERE = Path(__file__).parent
User = Callable[..., Awaitable[MatrixUser]]
PhoneOf = Callable[[str], Awaitable[Phone]]
MARKS = pytest.StashKey[list[tuple[Ringback, int]]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark(items, HERE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with Lab(tmp_path_factory.mktemp("lab", numbered=False)) as lab:
        yield lab


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(lab: Lab) -> AsyncIterator[Browser]:
    browser = Browser(lab.folder / "browser")
    await lab.up(browser)
    yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def phone_of(lab: Lab, browser: Browser) -> PhoneOf:
    """The browser's device of a user; the same one each time."""
    phones: dict[str, Phone] = {}

    async def phone(name: str) -> Phone:
        if name not in phones:
            phones[name] = await browser.phone(lab.synapse.url, name, f"{name}-secret")
        return phones[name]

    return phone


@pytest_asyncio.fixture(loop_scope="session")
async def browser_pair(lab: Lab, browser: Browser) -> AsyncIterator[tuple[Browser, Browser]]:
    """The session's browser and one more, whose microphone hears 660 Hz."""
    second = Browser(lab.folder / "second-browser", tone=660)
    await second.start()
    yield browser, second
    await second.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def telephone(lab: Lab) -> Baresip:
    """A telephone registered at the PBX as alice, extension 5000."""
    baresip = Baresip(lab.folder / "baresip", lab.ports, lab.authority, lab.pbx, "alice")
    await lab.up(baresip)
    return baresip


@pytest_asyncio.fixture(loop_scope="session")
async def pbx(lab: Lab) -> AsyncIterator[Asterisk]:
    """The PBX; whatever a test does, no call may be left when it ends."""
    yield lab.pbx
    await lab.pbx.quiet()


@pytest.fixture
def bridge(lab: Lab) -> Ringback:
    return lab.bridge


@pytest.fixture
def peer(lab: Lab) -> Peer:
    return lab.peer


@pytest.fixture
def user(lab: Lab) -> User:
    """A device of a user without a browser."""
    return lab.user


@pytest.fixture(autouse=True)
def marked(request: pytest.FixtureRequest) -> None:
    """Where the bridges' logs stood when the test began."""
    if (lab := request.node.funcargs.get("lab")) is not None:
        request.node.stash[MARKS] = [(bridge, bridge.mark) for bridge in (lab.bridge, lab.other)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what the bridges said meanwhile."""
    report = yield
    if report.failed:
        for bridge, mark in item.stash.get(MARKS, []):
            if said := bridge.log(mark).splitlines()[-150:]:
                report.sections.append((f"log of {bridge.name}", "\n".join(said)))
    return report
