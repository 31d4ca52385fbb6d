"""The suite in short against our listener, and against one that is made to be caught."""

from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from tests.replay.listener import ROOMS, SENDER, TOKEN, listening
from tests.replay.suite import Suite, Target


async def test_nothing_is_lost_or_doubled_whatever_a_homeserver_repeats(tmp_path: Path) -> None:
    async with listening(tmp_path) as target:
        found = await Suite(target, size=20, repeats=3, quiet=0.1).run()
    assert [one for one in found if not one.good] == []
    assert len(found) == 11


async def test_a_listener_that_knows_transactions_and_not_events_is_caught() -> None:
    """As many do it: by the id of the transaction, in memory, and by no event's."""
    known: set[str] = set()
    done: list[str] = []

    async def take(request: web.Request) -> web.Response:
        txn = request.match_info["txn"]
        if txn not in known:
            known.add(txn)
            for event in (await request.json())["events"]:
                if isinstance(event, dict) and "room_id" in event:
                    done.append(str(event["content"]["body"]))
        return web.json_response({})

    async def effects() -> Sequence[str]:
        return done

    app = web.Application()
    app.router.add_put("/_matrix/app/v1/transactions/{txn}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    suite = Suite(
        Target(url, TOKEN, ROOMS, SENDER, effects), size=4, repeats=2, patience=0.1, quiet=0.05
    )
    found = {one.name: one for one in await suite.run()}
    await runner.cleanup()
    assert found["repeated"].good
    assert found["same events, new transactions"].doubled == 4
    assert found["same transaction ids, new events"].lost > 0
    assert found["wrong tokens"].wrong
    assert found["ids from 1 again"].lost > 0
