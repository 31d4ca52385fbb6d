import logging
from collections.abc import Callable, Iterator

import pytest

from bridge.log import RedactingFormatter, set_up_logging, shorten_numbers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("call to +493012345678", "call to +…78"),
        ("@tel_493012345678:example.org joined", "@tel_…78:example.org joined"),
        ("sip:493012345678@pbx", "sip:…78@pbx"),
        ("sip:+493012345678@pbx", "sip:+…78@pbx"),
        ("tel:+15551234567", "tel:+…67"),
        ("from 03012345678", "from …78"),
        ("'03012345678'", "'…78'"),
        ("03012345678, and 03012345679.", "…78, and …79."),
        ("+493012345678 +15551234567", "+…78 +…67"),
    ],
)
def test_numbers_keep_two_digits(text: str, shown: str) -> None:
    assert shorten_numbers(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:40000",
        "after 12.345678 s",
        "$b4c1234567890def",
        "call 7f3a1234567890",
        "port 40000",
        "extension 100",
        "2026-11-23 10:11:12,123",
    ],
)
def test_what_is_no_number_stays(text: str) -> None:
    assert shorten_numbers(text) == text


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What has been written to standard error."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = ("bridge", "sip", "media", "mau", "aiohttp", "asyncio", "aiosqlite", "asyncpg")
    levels = {name: logging.getLogger(name).level for name in names}
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, value in levels.items():
        logging.getLogger(name).setLevel(value)


def test_secrets_are_cut_out_of_messages_and_tracebacks(logged: Callable[[], str]) -> None:
    set_up_logging("debug", ["canary", "canary-longer"])
    log = logging.getLogger("bridge.test")
    log.info("token %s and %s", "canary-longer", b"canary")
    try:
        raise ValueError("the password is canary, call +493012345678")
    except ValueError:
        log.exception("failed")
    said = logged()
    assert "canary" not in said
    assert "longer" not in said
    assert "493012345678" not in said
    assert "[secret]" in said
    assert "Traceback" in said


def test_ours_are_as_loud_as_asked_and_libraries_are_quiet(logged: Callable[[], str]) -> None:
    set_up_logging("debug")
    logging.getLogger("bridge.test").debug("ours")
    logging.getLogger("sip.test").debug("ours too")
    logging.getLogger("aiosqlite").debug("theirs, with bodies")
    logging.getLogger("mau.db").info("theirs")
    logging.getLogger("aiohttp.access").info("theirs")
    said = logged()
    assert said.count("ours") == 2
    assert "theirs" not in said


def test_info_leaves_debug_out(logged: Callable[[], str]) -> None:
    set_up_logging("info")
    logging.getLogger("bridge.test").debug("hidden")
    logging.getLogger("bridge.test").info("shown")
    said = logged()
    assert "hidden" not in said
    assert "shown" in said


def test_a_secret_of_no_length_does_not_cut_everything() -> None:
    record = logging.LogRecord("n", logging.INFO, "", 0, "a b c", None, None)
    assert "a b c" in RedactingFormatter(["", "a"]).format(record)
