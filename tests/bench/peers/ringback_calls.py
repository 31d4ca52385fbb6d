"""Calls through our user agent: `sip.agent` and its driver on asyncio."""

import asyncio

from sip.agent import UserAgent
from sip.events import Body, Event, IncomingSession, SessionAnswered, SessionEnded
from sip.io.client import RandomIds
from sip.io.driver import Driver
from sip.io.flow import Connection
from sip.session import Session
from sip.trunk import Trunk
from sip.uri import Uri
from tests.bench.peers.window import OFFER, free_port, keep_busy, serve

DESCRIPTION = Body("application/sdp", OFFER.encode())


class Phone:
    """One end."""

    def __init__(self, name: str) -> None:
        self.trunk = Trunk(
            name=name,
            domain="example.net",
            username=name,
            password="",
            register=False,
            insecure_transport="udp",
        )
        self.agent = UserAgent(self.trunk, ids=RandomIds())
        self.driver = Driver(agent=self.agent, listener=self.hear)
        self.over: dict[Session, asyncio.Future[None]] = {}

    async def connect(self, local: int, remote: int) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Connection(id=1, trunk=self.trunk, listener=self.driver),
            local_addr=("127.0.0.1", local),
            remote_addr=("127.0.0.1", remote),
        )

    async def call(self) -> None:
        session = self.agent.invite(
            Uri("sip", "callee", "example.net"), DESCRIPTION, now=self.driver.now()
        )
        over = self.over[session] = asyncio.get_running_loop().create_future()
        self.driver.pump()
        await over

    def hear(self, event: Event) -> None:
        now = self.driver.now()
        match event:
            case IncomingSession(session=session):
                session.ring(now=now)
                session.answer(DESCRIPTION, now=now)
            case SessionAnswered(session=session):
                session.hang_up(now=now)
            case SessionEnded(session=session, status=status):
                assert status == 200
                if session in self.over:
                    self.over.pop(session).set_result(None)
            case _:
                pass


def main() -> None:
    loop = asyncio.new_event_loop()
    caller, callee = Phone("caller"), Phone("callee")
    one, other = free_port(), free_port()
    loop.run_until_complete(caller.connect(one, other))
    loop.run_until_complete(callee.connect(other, one))
    serve(lambda count: loop.run_until_complete(keep_busy(count, caller.call)))


if __name__ == "__main__":
    main()
