from bridge.db import database as databases
from bridge.db.interface import Database
from bridge.db.polls import PollTable


async def test_a_cursor_is_kept_for_each_road(database: Database) -> None:
    table = PollTable(database)
    assert await table.cursor("a") is None
    await table.keep("a", "1")
    await table.keep("b", "2")
    await table.keep("a", "3")
    assert (await table.cursor("a"), await table.cursor("b")) == ("3", "2")


async def test_a_cursor_outlives_a_restart(database_url: str) -> None:
    for _ in range(2):
        opened = await databases.open(database_url)
        earlier = await PollTable(opened).cursor("a")
        await PollTable(opened).keep("a", "1 2")
        await opened.stop()
    assert earlier == "1 2"
