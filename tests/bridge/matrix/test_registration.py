import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.matrix.registration import (
    PROTOCOLS,
    build_registration,
    make_token,
    show_registration,
    write_secret_file,
)

SETTINGS: dict[str, Any] = {
    "id": "ringback",
    "url": "http://127.0.0.1:29330",
    "domain": "example.org",
    "bot": "ringback",
    "ghost_prefix": "tel_",
    "as_token": "a",
    "hs_token": "h",
}


def matches(user_id: str, **settings: str) -> bool:
    registration = build_registration(**(SETTINGS | settings))
    namespaces = registration["namespaces"]["users"]
    # Synapse matches from the start and does not ask for the end.
    return any(re.match(namespace["regex"], user_id) for namespace in namespaces)


@pytest.mark.parametrize(
    "user_id",
    ["@tel_493012345678:example.org", "@tel_anonymous:example.org", "@ringback:example.org"],
)
def test_ours_are_in_the_namespace(user_id: str) -> None:
    assert matches(user_id)


@pytest.mark.parametrize(
    "user_id",
    [
        "@alice:example.org",
        "@tel_:example.org",
        "@xtel_49:example.org",
        "@tel_49:exampleXorg",
        "@tel_49:elsewhere.org",
        "@ringback2:example.org",
    ],
)
def test_others_are_not_in_the_namespace(user_id: str) -> None:
    assert not matches(user_id)


def test_read_receipts_are_asked_for_where_somebody_wants_them() -> None:
    assert "receive_ephemeral" not in build_registration(**SETTINGS)
    assert build_registration(**SETTINGS, reads=True)["receive_ephemeral"] is True


def test_a_prefix_of_special_characters_is_taken_literally() -> None:
    assert matches("@a.b_49:example.org", ghost_prefix="a.b_")
    assert not matches("@axb_49:example.org", ghost_prefix="a.b_")


def test_both_phone_protocols_are_announced_and_limits_lifted() -> None:
    registration = build_registration(**SETTINGS)
    assert registration["protocols"] == list(PROTOCOLS)
    assert registration["rate_limited"] is False


def test_the_text_reads_back_as_what_was_built() -> None:
    registration = build_registration(**SETTINGS)
    assert yaml.safe_load(show_registration(registration)) == registration


def test_tokens_are_long_and_never_the_same() -> None:
    assert len(make_token()) >= 43
    assert make_token() != make_token()


def test_a_secret_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "registration.yaml"
    write_secret_file(path, "one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_secret_file(path, "two")
    path.chmod(0o644)
    write_secret_file(path, "two", overwrite=True)
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
