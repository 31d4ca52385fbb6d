import base64
from typing import Any

import pytest

from bridge.matrix.events import RoomEvent, Text, parse_text
from bridge.matrix.file import FileError, FileKey, RoomFile, decrypt, parse_file
from bridge.spoken import spoken
from tests.bridge.media_server import encrypted

URI = "mxc://example.org/abc-DEF_1"


def read(**content: Any) -> Text:
    event = RoomEvent("$1", "!r:x", "@a:x", "m.room.message", {"msgtype": "m.image", **content})
    text = parse_text(event)
    assert text is not None
    return text


def key_json(key: FileKey) -> dict[str, Any]:
    def web(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    def plain(data: bytes) -> str:
        return base64.b64encode(data).decode().rstrip("=")

    return {
        "url": URI,
        "key": {"kty": "oct", "alg": "A256CTR", "k": web(key.key)},
        "iv": plain(key.counter),
        "hashes": {"sha256": plain(key.digest)},
        "v": "v2",
    }


@pytest.mark.parametrize(
    ("content", "words", "name"),
    [
        ({"body": "cat.jpg"}, "", "cat.jpg"),
        ({"body": "cat.jpg", "filename": "cat.jpg"}, "", "cat.jpg"),
        ({"body": "my cat", "filename": "cat.jpg"}, "my cat", "cat.jpg"),
    ],
)
def test_a_body_is_a_caption_only_beside_a_name(
    content: dict[str, str], words: str, name: str
) -> None:
    text = read(url=URI, info={"mimetype": "Image/JPEG; x=y", "size": 5}, **content)
    assert text.words == words
    assert text.file == RoomFile(URI, "image/jpeg", name, 5)


def test_an_edit_is_of_the_caption() -> None:
    new = {"msgtype": "m.image", "body": "better", "filename": "cat.jpg", "url": URI}
    relation = {"rel_type": "m.replace", "event_id": "$0"}
    text = read(body="* better", **{"m.new_content": new, "m.relates_to": relation})
    assert (text.words, text.edits) == ("better", "$0")


@pytest.mark.parametrize(
    "uri",
    [
        None,
        7,
        "",
        "https://example.org/x",
        "mxc://example.org",
        "mxc://example.org/a/b",
        "mxc://example.org/../v3/account",
        "mxc://example.org/a?b=c",
        "mxc:///a",
        "mxc://ex ample.org/a",
    ],
)
def test_what_is_no_address_of_a_file_is_none(uri: object) -> None:
    text = read(body="cat.jpg", url=uri)
    assert (text.file, text.words) == (None, "")


@pytest.mark.parametrize("size", ["5", -1, None, 1.5])
def test_a_size_that_is_none_is_not_believed(size: object) -> None:
    file = parse_file({"url": URI, "body": "x", "info": {"size": size, "mimetype": 3}})
    assert file == RoomFile(URI, "", "x")


def test_an_encrypted_file_is_read_with_its_key() -> None:
    stored, key = encrypted(b"a picture")
    file = parse_file({"file": key_json(key), "body": "cat.jpg"})
    assert file is not None
    assert file.key == key
    assert decrypt(stored, key) == b"a picture"
    with pytest.raises(FileError, match="not the one"):
        decrypt(stored + b"x", key)


@pytest.mark.parametrize(
    "change",
    [
        {"key": None},
        {"key": {"alg": "A256CTR", "k": "short"}},
        {"key": {"alg": "A128CTR", "k": "A" * 43}},
        {"iv": "§"},
        {"iv": 7},
        {"hashes": {}},
        {"hashes": {"sha256": "A" * 1000}},
    ],
)
def test_a_key_that_is_none_makes_no_file(change: dict[str, Any]) -> None:
    _, key = encrypted(b"")
    assert parse_file({"file": key_json(key) | change, "url": URI, "body": "x"}) is None


def test_a_file_survives_the_database() -> None:
    for key in (None, encrypted(b"x")[1]):
        file = RoomFile(URI, "image/jpeg", "cät.jpg", 7, key, scaled=key is None)
        assert RoomFile.from_json(file.to_json()) == file


def test_neither_name_nor_key_is_shown_in_a_log() -> None:
    _, key = encrypted(b"x")
    shown = repr(RoomFile(URI, "image/jpeg", "secret.jpg", 7, key))
    assert "secret" not in shown
    assert "x00" not in shown


def test_a_sticker_is_a_picture_without_words() -> None:
    content = {"body": "a cat", "url": URI, "info": {"mimetype": "image/webp"}}
    text = parse_text(RoomEvent("$1", "!r:x", "@a:x", "m.sticker", content))
    assert text == Text("", "m.sticker", file=RoomFile(URI, "image/webp", "a cat"))
    assert parse_text(RoomEvent("$1", "!r:x", "@a:x", "m.sticker", {})) is None


@pytest.mark.parametrize("type", ["m.poll.start", "org.matrix.msc3381.poll.start"])
def test_a_poll_is_something_that_no_text_carries(type: str) -> None:
    text = parse_text(RoomEvent("$1", "!r:x", "@a:x", type, {"m.poll": {}}))
    assert text is not None
    assert spoken(text) is None
    assert parse_text(RoomEvent("$1", "!r:x", "@a:x", type, {})) is None
