from ipaddress import ip_network

import pytest

from bridge.road.bandwidth import Bandwidth
from bridge.road.elks import Elks
from bridge.road.proof import basic, check_login, check_source, login_for
from bridge.road.road import Forged, GuardedMedia
from bridge.road.telnyx import Telnyx
from bridge.road.twilio import Twilio
from tests.bridge.road.hooks import hook

BASE = "https://api.acme.example/v1"


def test_a_login_is_written_as_the_standard_shows() -> None:
    assert basic("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617 §2


def test_a_login_is_checked() -> None:
    check_login(hook(headers={"authorization": basic("me", "pw")}), "me", "pw")
    with pytest.raises(Forged):
        check_login(hook(), "me", "pw")


def test_a_source_is_checked() -> None:
    check_source(hook(source="192.0.2.7"), [ip_network("192.0.2.0/24")])
    with pytest.raises(Forged):
        check_source(hook(source="192.0.2.7"), [])


@pytest.mark.parametrize("url", ["https://api.acme.example/media/1", "https://api.acme.example"])
def test_the_providers_host_hears_the_login(url: str) -> None:
    assert login_for(url, "Basic x", base=BASE) == {"Authorization": "Basic x"}


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/media/1",
        "http://api.acme.example/media/1",
        "https://api.acme.example:8443/media/1",
        "https://api.acme.example@evil.example/",
        "https://me@api.acme.example/",
        "https://api.acme.example.evil.example/",
        "https://evil.example/https://api.acme.example/",
        "//api.acme.example/media/1",
        "",
    ],
)
def test_nobody_else_hears_it(url: str) -> None:
    assert login_for(url, "Basic x", base=BASE) == {}


@pytest.mark.parametrize(
    ("road", "url"),
    [
        (
            Bandwidth("1", "2", "me", "pw", hook_username="a", hook_password="b"),
            "https://messaging.bandwidth.com/api/v2/users/1/media/a/b.jpg",
        ),
        (Elks("me", "pw"), "https://api.46elks.com/a1/images/1"),
        (Twilio("me", "pw"), "https://api.twilio.com/2010-04-01/Accounts/me/Messages/1/Media/2"),
    ],
)
def test_some_keep_pictures_behind_the_login_of_the_interface(
    road: Bandwidth | Elks | Twilio, url: str
) -> None:
    assert isinstance(road, GuardedMedia)
    assert road.media_headers(url) == {"Authorization": basic("me", "pw")}
    assert road.media_headers("https://evil.example/a.jpg") == {}


def test_others_do_not() -> None:
    assert not issubclass(Telnyx, GuardedMedia)
