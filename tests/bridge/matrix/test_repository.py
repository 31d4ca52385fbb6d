import pytest

from bridge.matrix.file import FileError, RoomFile
from bridge.matrix.repository import RoomFiles
from tests.bridge.media_server import SMALL, MediaServer, encrypted


@pytest.fixture
def server() -> MediaServer:
    return MediaServer()


@pytest.mark.parametrize("lengthless", [False, True])
async def test_a_file_is_read_with_our_token(server: MediaServer, lengthless: bool) -> None:
    server.lengthless = lengthless
    file = RoomFile(server.add(b"x" * 100_000))
    async with server.running() as files:
        assert (await files.read(file, most=100_000))[0] == b"x" * 100_000
        with pytest.raises(FileError, match="larger than 99 kB") as caught:
            await files.read(file, most=99_999)
    assert caught.value.final
    assert server.asked == ["/_matrix/client/v1/media/download/example.org/one"] * 2


async def test_an_encrypted_file_is_decrypted(server: MediaServer) -> None:
    stored, key = encrypted(b"a picture")
    file = RoomFile(server.add(stored), key=key)
    async with server.running() as files:
        assert (await files.read(file, most=100))[0] == b"a picture"
        server.add(b"another")
        with pytest.raises(FileError, match="not the one"):
            await files.read(file, most=100)


@pytest.mark.parametrize(
    ("status", "final"), [(404, True), (403, True), (429, False), (500, False), (502, False)]
)
async def test_what_may_be_there_later_is_worth_another_attempt(
    server: MediaServer, status: int, final: bool
) -> None:
    server.statuses = [status]
    async with server.running() as files:
        with pytest.raises(FileError) as caught:
            await files.read(RoomFile("mxc://example.org/none"), most=1)
    assert caught.value.final is final


async def test_a_homeserver_that_is_away_may_come_back() -> None:
    files = RoomFiles(url="http://127.0.0.1:9", as_token="t", user_id="@b:x")
    with pytest.raises(FileError, match="cannot be reached") as caught:
        await files.read(RoomFile("mxc://example.org/one"), most=1)
    await files.close()
    assert not caught.value.final


async def test_a_smaller_picture_is_what_the_homeserver_makes(server: MediaServer) -> None:
    server.thumbnails = "image/png"
    file = RoomFile(server.add(b"x" * 1000), scaled=True)
    async with server.running() as files:
        assert await files.read(file, most=100) == (SMALL, "image/png")
    assert server.asked == ["/_matrix/client/v1/media/thumbnail/example.org/one"]
