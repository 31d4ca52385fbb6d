import json
from collections.abc import Mapping

import pytest

from bridge.attachment import PAUSES, Attachments, keep
from bridge.road.fetch import Fetched, Fetcher, NotFetched
from bridge.road.road import Attachment
from tests.bridge.fakes import FakeMatrix

URL = "https://acme.example/1"
GHOST = "@tel_1:example.org"


class Files(Fetcher):
    """Gives one thing after the other."""

    def __init__(self, *turns: Fetched | NotFetched) -> None:
        super().__init__()
        self.turns = list(turns)
        self.headers: list[Mapping[str, str] | None] = []

    async def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> Fetched:
        assert url == URL
        self.headers.append(headers)
        turn = self.turns.pop(0)
        if isinstance(turn, NotFetched):
            raise turn
        return turn


async def content(
    *turns: Fetched | NotFetched, told: str = "", matrix: FakeMatrix | None = None
) -> tuple[dict[str, object], list[float]]:
    """The content, and the pauses that were made."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    matrix = matrix or FakeMatrix()
    attachments = Attachments(matrix=matrix.real, fetcher=Files(*turns), sleep=sleep)
    return await attachments.content(keep(Attachment(URL, told), "acme"), sender=GHOST), pauses


@pytest.mark.parametrize(
    ("said", "told", "msgtype", "kind", "name"),
    [
        ("image/jpeg", "", "m.image", "image/jpeg", "picture.jpg"),
        ("image/png", "image/jpeg", "m.image", "image/png", "picture.png"),
        ("audio/amr", "", "m.audio", "audio/amr", "sound"),
        ("video/mp4", "", "m.video", "video/mp4", "film.mp4"),
        ("application/octet-stream", "Image/JPEG", "m.image", "image/jpeg", "picture.jpg"),
        ("application/pdf", "", "m.file", "application/pdf", "file.pdf"),
        ("image/svg+xml", "", "m.file", "application/octet-stream", "file.bin"),
        ("text/html", "", "m.file", "application/octet-stream", "file.bin"),
        ("nonsense", "more nonsense", "m.file", "application/octet-stream", "file.bin"),
    ],
)
async def test_only_known_types_are_shown(
    said: str, told: str, msgtype: str, kind: str, name: str
) -> None:
    matrix = FakeMatrix()
    made, _ = await content(Fetched(said, b"data"), told=told, matrix=matrix)
    assert made == {
        "msgtype": msgtype,
        "body": made["body"],
        "filename": made["body"],
        "url": "mxc://example.org/1",
        "info": {"mimetype": kind, "size": 4},
    }
    assert str(made["body"]).startswith(name)
    assert matrix.uploads == [(kind, b"data")]


async def test_a_server_that_stumbles_is_asked_again() -> None:
    trouble = NotFetched("the server answered 503", final=False)
    made, pauses = await content(trouble, trouble, Fetched("image/png", b"x"))
    assert made["msgtype"] == "m.image"
    assert pauses == list(PAUSES)


@pytest.mark.parametrize(("final", "attempts"), [(True, 1), (False, 3)])
async def test_what_cannot_be_fetched_is_told_with_its_address(final: bool, attempts: int) -> None:
    troubles = [NotFetched("not a public address", final=final)] * attempts
    made, _ = await content(*troubles)
    assert made["msgtype"] == "m.notice"
    assert URL in str(made["body"])
    assert "not a public address" in str(made["body"])


async def test_what_the_homeserver_does_not_take_is_told_with_its_address() -> None:
    made, _ = await content(Fetched("image/png", bytes(1001)))
    assert made["msgtype"] == "m.notice"
    assert URL in str(made["body"])


def test_what_is_kept_is_small_and_whole() -> None:
    assert json.loads(keep(Attachment(URL, "Image/PNG"), "acme")) == [URL, "image/png", "acme"]


async def test_the_provider_is_told_what_it_wants_to_hear_at_each_attempt() -> None:
    files = Files(NotFetched("not yet", final=False), Fetched("image/png", b"x"))
    asked: list[tuple[str, str]] = []

    def headers(road: str, url: str) -> Mapping[str, str]:
        asked.append((road, url))
        return {"Authorization": "Basic x"}

    async def sleep(seconds: float) -> None:
        pass

    attachments = Attachments(matrix=FakeMatrix().real, fetcher=files, headers=headers, sleep=sleep)
    kept = keep(Attachment(URL), "acme")
    assert "Basic" not in kept
    await attachments.content(kept, sender=GHOST)
    assert asked == [("acme", URL)]
    assert files.headers == [{"Authorization": "Basic x"}] * 2
