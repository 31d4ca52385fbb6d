"""A worker process by itself: what it answers, what ends it and what does not."""

import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from media.control import Message, Unframer, frame
from tests.media.party import Browser


class Worker:
    """A process and our end of its channel."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        self.control.settimeout(10)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "media.worker", str(theirs.fileno()), "ERROR"],
                pass_fds=(theirs.fileno(),),
                stderr=subprocess.PIPE,
                text=True,
            )
        self._unframer = Unframer()
        self._waiting: list[Message] = []

    def read(self) -> Message:
        while not self._waiting:
            data = self.control.recv(65536)
            assert data, "the worker has gone"
            messages = self._unframer.feed(data)
            self._waiting += [one for one in messages if one["op"] != "share"]
        return self._waiting.pop(0)

    def tell(self, message: Message) -> None:
        self.control.sendall(frame(message))


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    assert worker.read() == {"op": "ready"}
    yield worker
    worker.control.close()
    worker.process.wait(5)
    assert worker.process.stderr is not None
    worker.process.stderr.close()


def _configured() -> Message:
    """With a range of ports that is very probably free."""
    first = random.randrange(33000, 34900)
    return {"op": "configure", "ports": [first, first + 99], "begin": first}


def _opened(number: int, **changes: object) -> Message:
    settings = {
        "codecs": ["pcmu"],
        "encryption": "required",
        "suites": ["AES_CM_128_HMAC_SHA1_80"],
        "connect_timeout": 5,
        "silence_timeout": 5,
        "digits_in_media": True,
        "thin_link": False,
    }
    return {
        "op": "open",
        "session": number,
        "settings": settings,
        "servers_follow": False,
        "addresses": ["127.0.0.1"],
        "trunk_listen": "127.0.0.1",
        "trunk_address": "127.0.0.1",
        "advertise": None,
    } | changes


def test_answers_a_ping(worker: Worker) -> None:
    worker.tell({"op": "ping"})
    assert worker.read() == {"op": "pong"}


def test_ends_when_the_control_process_does(worker: Worker) -> None:
    worker.control.shutdown(socket.SHUT_WR)
    assert worker.process.wait(5) == 0


def test_signals_of_the_terminal_and_the_service_manager_do_not_end_it(worker: Worker) -> None:
    worker.process.send_signal(signal.SIGINT)
    worker.process.send_signal(signal.SIGTERM)
    worker.tell({"op": "ping"})
    assert worker.read() == {"op": "pong"}


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\1{", b"\0\0\0\2{}"])
def test_a_control_process_that_cannot_be_understood_ends_it(worker: Worker, data: bytes) -> None:
    worker.control.sendall(data)
    assert worker.process.wait(5) == 0


def test_garbage_in_a_session_is_that_sessions_failure(worker: Worker) -> None:
    worker.tell(_configured())
    worker.tell(_opened(1))
    worker.tell({"op": "offer", "session": 1, "side": "sdes", "sdp": "x"})
    failed = worker.read()
    assert (failed["session"], failed["event"], failed["failure"]) == (1, "Failed", "bad-sdp")
    worker.tell({"op": "close", "session": 1})
    assert worker.read()["event"] == "Closed"


def test_a_description_full_of_words_costs_no_other_call(worker: Worker) -> None:
    """Each character takes six bytes on the channel, and the answer says it twice."""
    worker.tell(_configured())
    worker.tell(_opened(1))
    worker.tell(_opened(2))
    browser = Browser(offers=True, address=("127.0.0.1", 50000), now=0.0)
    sdp = browser.offer().replace("a=mid:0", "a=mid:" + "\N{SNOWMAN}" * 30_000)
    worker.tell({"op": "offer", "session": 1, "side": "webrtc", "sdp": sdp})
    worker.tell({"op": "perform", "session": 1, "order": "Accept", "side": "webrtc"})
    worker.tell({"op": "close", "session": 2})
    told = [worker.read() for _ in range(3)]
    events = [(message["session"], message["event"]) for message in told]
    assert events == [(1, "OfferReady"), (1, "AnswerReady"), (2, "Closed")]


def test_a_session_that_crashed_does_and_costs_nothing_more(worker: Worker) -> None:
    browser = Browser(offers=True, address=("127.0.0.1", 50000), now=0.0)
    with socket.create_server(("127.0.0.1", 0)) as turn:
        turn.settimeout(10)
        server = {
            "turn": True,
            "host": "turn.test",
            "port": turn.getsockname()[1],
            "transport": "tcp",
            "username": "",
            "credential": "",
        }
        worker.tell(_configured())
        worker.tell(_opened(1, servers_follow=True))
        worker.tell({"op": "offer", "session": 1, "side": "webrtc", "sdp": browser.offer()})
        servers = [{"server": server, "address": "127.0.0.1"}]
        worker.tell({"op": "servers", "session": 1, "servers": servers})
        stream, _ = turn.accept()
        with stream:
            broken = {"op": "candidates", "session": 1, "side": "webrtc", "candidates": [5]}
            worker.tell(broken)
            stream.settimeout(10)
            while stream.recv(4096):
                pass
        worker.tell(broken)
    worker.tell({"op": "close", "session": 1})
    told = [worker.read() for _ in range(3)]
    assert [message["event"] for message in told] == ["OfferReady", "Failed", "Closed"]
    assert told[1]["failure"] == "engine"


def test_an_address_that_has_gone_is_left_out(worker: Worker) -> None:
    worker.tell(_configured())
    worker.tell(_opened(1, addresses=["192.0.2.77", "127.0.0.1"]))
    worker.tell({"op": "close", "session": 1})
    assert worker.read()["event"] == "Closed"


def test_a_relay_that_no_socket_can_reach_costs_nothing_but_its_candidates(worker: Worker) -> None:
    browser = Browser(offers=True, address=("127.0.0.1", 50000), now=0.0)
    server = {"turn": True, "host": "turn.test", "port": 3478, "transport": "tcp"}
    worker.tell(_configured())
    worker.tell(_opened(1, servers_follow=True))
    worker.tell({"op": "offer", "session": 1, "side": "webrtc", "sdp": browser.offer()})
    # Nothing can be opened toward that, as toward any IPv6 address where the kernel has none.
    servers = [{"server": server, "address": "fe80::1%none"}]
    worker.tell({"op": "servers", "session": 1, "servers": servers})
    worker.tell({"op": "perform", "session": 1, "order": "Accept", "side": "webrtc"})
    told = [worker.read() for _ in range(2)]
    assert [message["event"] for message in told] == ["OfferReady", "AnswerReady"]
    assert "end-of-candidates" in told[1]["sdp"]


def test_sockets_that_a_session_moved_away_from_are_forgotten(worker: Worker) -> None:
    """The next one that is opened has the number of the one that was closed."""
    browser = Browser(offers=True, address=("127.0.0.1", 50000), now=0.0)
    with socket.create_server(("127.0.0.1", 0)) as turn:
        turn.settimeout(10)
        port = turn.getsockname()[1]
        server = {"turn": True, "host": "turn.test", "port": port, "transport": "tcp"}
        worker.tell(_configured())
        worker.tell(_opened(1, servers_follow=True, addresses=["127.0.0.1", "127.0.0.2"]))
        worker.tell({"op": "offer", "session": 1, "side": "webrtc", "sdp": browser.offer()})
        addresses = {"addresses": ["127.0.0.1"], "trunk_address": "127.0.0.1"}
        worker.tell({"op": "move", "session": 1, **addresses})
        servers = [{"server": server, "address": "127.0.0.1"}]
        worker.tell({"op": "servers", "session": 1, "servers": servers})
        stream, _ = turn.accept()
        with stream:
            stream.settimeout(10)
            assert stream.recv(4096)[:2] == b"\0\3"  # Allocate


def test_an_idle_worker_sleeps(worker: Worker) -> None:
    def cpu() -> float:
        with open(f"/proc/{worker.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    worker.tell({"op": "ping"})  # after the answer it has nothing left to do
    worker.read()
    before = cpu()
    time.sleep(0.3)
    assert cpu() - before <= 0.02
