"""Claims that nobody verified."""

import base64

import pytest

from sip.headers import Headers
from sip.passport import Passport, read_passports
from tests.sip.effort import LIMIT, effort
from tests.sip.forged import passport


def read(*values: str) -> tuple[Passport, ...]:
    return read_passports(Headers([("Identity", value) for value in values]))


def part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_the_claims_of_a_shaken_passport() -> None:
    value = passport(
        attest="B",
        dest={"tn": ["12125551213", "12125551214"], "uri": ["sip:bob@x"]},
        iat=1471375418,
        orig={"tn": "12155551212"},
        origid="123e4567-e89b-12d3-a456-426655440000",
    )
    (read_one,) = read(value)
    assert read_one == Passport(
        value.partition(";")[0],
        "https://cert.example/a",
        "shaken",
        "B",
        "12155551212",
        ("12125551213", "12125551214", "sip:bob@x"),
        1471375418,
        "123e4567-e89b-12d3-a456-426655440000",
    )


def test_quoted_kind_and_several_fields() -> None:
    first = passport(attest="A").replace("ppt=shaken", 'ppt="shaken"')
    second = passport(div={"tn": "1"}).replace("ppt=shaken", "ppt=div")
    assert [one.kind for one in read(first, second)] == ["shaken", "div"]


def test_the_compact_form_has_no_claims() -> None:
    (one,) = read("..c2lnbmF0dXJl;info=<https://cert.example/a>;alg=ES256")
    assert (one.token, one.orig, one.issued_at) == ("..c2lnbmF0dXJl", "", None)


@pytest.mark.parametrize(
    "claims",
    ['{"attest": "Z"}', '{"attest": ["A"]}', '{"iat": true}', '{"iat": -1}', '{"iat": 1e400}',
     '{"orig": 5, "dest": {"tn": {"a": 1}}}', '{"orig": {"tn": [1, null]}, "origid": {}}',
     '{"iat": ' + "9" * 100 + "}"],
)  # fmt: skip
def test_claims_of_the_wrong_kind_say_nothing(claims: str) -> None:
    (one,) = read(f"a.{part(claims)}.c;info=<x>")
    assert (one.attestation, one.orig, one.dest) == ("", "", ())
    assert (one.issued_at, one.origin_id) == (None, "")


@pytest.mark.parametrize(
    "value",
    ["", "x", "a.b", "a..c;info=<x>", "a.!.c", f"a.{part('[]')}.c", f"a.{part('{')}.c",
     f"a.{part('null')}.c", "a.gICA.c", f"a.{part('{}')}.c;info=<x", '"c2lnbmF0dXJl"',
     f"a.{part('{}')}.c;=", f"a.{part('1' * 5000)}.c"],
)  # fmt: skip
def test_what_cannot_be_read_is_left_out(value: str) -> None:
    assert read(value) == ()


def test_deep_and_long_tokens_cost_nothing() -> None:
    deep = (f"a.{part('[' * 6000)}.c", f"a.{part('{' * 6000)}.c")
    long = "a." + "b" * 65536 + ".c"
    many = [passport(attest="A")] * 200
    assert read(*deep) == ()
    assert read(long) == ()
    assert len(read(*many)) == 4
    assert effort(lambda: (read(*deep), read(long), read(*many))) < LIMIT
