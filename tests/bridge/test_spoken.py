import pytest

from bridge.matrix.events import Text
from bridge.spoken import spoken


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (Text("**hello** @bob", "m.text"), "**hello** @bob"),
        (Text("> <@a:x> how?\n\nwell", "m.text", replies_to="$x"), "well"),
        (Text("> said nobody", "m.text"), "> said nobody"),
        (Text("waves", "m.emote"), "*waves*"),
        (Text(" ", "m.emote"), ""),
        (Text("a caption", "m.image"), "a caption"),
        (Text("photo.jpg", "m.gallery"), None),
        (Text("?", "m.key.verification.request"), None),
    ],
)
def test_a_message_is_its_words(text: Text, words: str | None) -> None:
    assert spoken(text) == words


@pytest.mark.parametrize(
    ("geo", "words"),
    [
        ("geo:52.5,13.4", "https://www.openstreetmap.org/?mlat=52.5&mlon=13.4"),
        ("geo:-33,151.2093;u=10", "https://www.openstreetmap.org/?mlat=-33&mlon=151.2093"),
        ("geo:1.5,2.5,30", "https://www.openstreetmap.org/?mlat=1.5&mlon=2.5"),
        ("geo:1.5&x,2", "at home"),
        (None, "at home"),
    ],
)
def test_a_place_is_a_link_to_a_map(geo: str | None, words: str) -> None:
    assert spoken(Text("at home", "m.location", geo_uri=geo)) == words
