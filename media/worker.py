"""A worker process of the local plane: `python -m media.worker FD`.

It carries packets for the sessions that the control process opens over the socketpair FD. The loop
is a bare epoll: an event loop's datagram endpoints cost twice as much. Every session's next
deadline lies on one heap, so an idle worker sleeps and a tick is due at its time.

The worker ends when the control process does (end of file), and with nothing else: signals of the
terminal or of the service manager are for the control process, which has calls to end first. One
session's crash is that session's `Failed(ENGINE)`. Keys never leave the process or reach a log.
"""

import base64
import contextlib
import errno
import gc
import heapq
import logging
import math
import os
import select
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from media import codec
from media.attendant import Captured
from media.control import (
    ControlError,
    Message,
    Unframer,
    event_to_json,
    frame,
    order_from_json,
    settings_from_json,
)
from media.dtls import Certificate
from media.ground import Ground
from media.ice.events import CloseStream, OpenStream, Transmit
from media.ice.server import Server
from media.pace import REST, Pace
from media.plane import (
    Closed,
    Failed,
    Failure,
    IceCandidate,
    MediaEvent,
    Report,
    Side,
)
from media.port import Ports
from media.secrecy import keep_memory_private
from media.session import Output, Session
from media.sound import Sound, pack
from media.stream import Stream
from media.webrtc import LocalSocket

log = logging.getLogger(__name__)

_MOST_DATAGRAM = 2048
_MOST_UNREAD = 4 * 1024 * 1024  # bytes that the control process may leave unread
_ACCOUNT_INTERVAL = 1.0
_STALL = 0.005  # seconds that a timer is late
_MOST_ROUNDS = 16  # of reading after a stall, before timers have their turn
_MOST_EVENTS = 64  # of one epoll, so that ticks are not kept waiting
_EXPEDITED = 46 << 2  # DSCP EF (RFC 8837 §5), as the byte of the header
_RTP, _RTCP, _FIRST_WEBRTC = 0, 1, 2  # a session's numbers for its sockets

_Way = tuple["_Entry", int, socket.socket]  # of a datagram: whose it is, on which of its sockets


@dataclass(slots=True, eq=False)
class _Entry:
    """A session with what the loop holds for it."""

    number: int
    session: Session
    sockets: dict[int, socket.socket] = field(default_factory=dict)
    streams: dict[int, Stream] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)
    has_crashed: bool = False  # it is only there to be closed
    chores: float | None = None  # the session's, as last read
    armed: float | None = None


class Worker:
    """The loop. `run` returns when the control process has gone."""

    def __init__(self, *, control: socket.socket) -> None:
        self._control = control
        self._unframer = Unframer()
        self._outgoing = bytearray()
        self._is_writing = False
        self._epoll = select.epoll()
        self._certificate = Certificate.generate()
        self._ports: Ports | None = None
        self._entries: dict[int, _Entry] = {}
        self._sounds: dict[str, Sound] = {}
        self._ways: dict[int, _Way] = {}
        self._streams: dict[int, tuple[_Entry, int, Stream]] = {}
        self._timers: list[tuple[float, int, _Entry]] = []
        self._timer_count = 0
        self._tls: ssl.SSLContext | None = None
        self._wall_offset = time.time() - time.monotonic()
        self._is_running = True
        self._accounted_at = 0.0
        self._accounted = 0.0  # seconds of CPU

    def run(self) -> None:
        self._control.setblocking(False)
        self._epoll.register(self._control.fileno(), select.EPOLLIN)
        self._tell({"op": "ready"})
        _warm_up()
        poll, due, pace = self._epoll.poll, math.inf, Pace(time.monotonic())
        while self._is_running:
            patience = -1 if due == math.inf else max(0.0, due - time.monotonic())
            ready = poll(patience, _MOST_EVENTS)
            now = time.monotonic()
            rounds = packets = 0
            while ready:
                packets += len(ready)
                for fd, _ in ready:
                    way = self._ways.get(fd)
                    if way is not None:
                        self._on_datagram(way, now)
                    else:
                        self._on_other(fd, now)
                # After a stall packets wait in the sockets. They go before the ticks, which would
                # take them for late, and have the buffers delay the sound from then on. Nor must
                # one wait for the end of a rest behind another of its session.
                rounds += 1
                goes_on = (pace.rests or now - due > _STALL) and rounds < _MOST_ROUNDS
                ready = poll(0, _MOST_EVENTS) if goes_on else []
            due = self._due()
            if due <= now:
                self._run_timers(now)
                due = self._due()
            pace.took(packets, now)
            if self._entries and now >= self._accounted_at + _ACCOUNT_INTERVAL:
                self._give_account(now)
            if pace.rests and (rest := now + REST - time.monotonic()) > 0:
                time.sleep(rest)
        for entry in list(self._entries.values()):
            self._drop(entry, time.monotonic())

    def _due(self) -> float:
        """When the first timer is due."""
        timers = self._timers
        while timers and timers[0][2].armed != timers[0][0]:  # moved since: nothing to wake up for
            heapq.heappop(timers)
        return timers[0][0] if timers else math.inf

    def _give_account(self, now: float) -> None:
        """Tell what share of a core the worker took since the last time."""
        cpu = time.process_time()
        share = (cpu - self._accounted) / (now - self._accounted_at)
        self._accounted, self._accounted_at = cpu, now
        self._tell({"op": "share", "share": round(share, 3)})

    def _on_other(self, fd: int, now: float) -> None:
        """Something is ready that is no socket of a session."""
        if fd == self._control.fileno():
            self._on_control(now)
        elif fd in self._streams:
            entry, number, stream = self._streams[fd]
            self._guard(entry, partial(self._on_stream, entry, number, stream, now))

    # --- the control channel

    def _on_control(self, now: float) -> None:
        self._write_control()
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._is_running = False
            return
        try:
            for message in self._unframer.feed(data):
                self._on_message(message, now)
        except (ControlError, KeyError, TypeError, ValueError) as error:
            log.error("the control process cannot be understood: %r", error)
            self._is_running = False

    def _on_message(self, message: Message, now: float) -> None:
        match message["op"]:
            case "configure":
                first, last = message["ports"]
                self._ports = Ports(first, last, begin=message["begin"])
            case "sound":
                self._take_sound(message)
            case "forget":  # whoever plays it has it still
                self._sounds.pop(message["name"], None)
            case "ping":
                self._tell({"op": "pong"})
            case "open":
                self._open(message, now)
            case _:
                entry = self._entries.get(message["session"])
                if message["op"] == "close":
                    self._close(message["session"], now)
                elif entry is not None and not entry.has_crashed:
                    self._guard(entry, partial(self._on_verb, entry, message, now))

    def _take_sound(self, message: Message) -> None:
        """More of a file's frames. `error` is None while others follow, and empty at the end."""
        sound = self._sounds.setdefault(message["name"], Sound())
        sound.add(base64.b64decode(message["frames"]))
        if message["error"] is not None:
            sound.is_whole, sound.error = True, message["error"]

    def _on_verb(self, entry: _Entry, message: Message, now: float) -> None:
        session = entry.session
        match message["op"]:
            case "offer":
                session.offer(Side(message["side"]), message["sdp"], now)
            case "answer":
                session.answer(Side(message["side"]), message["sdp"], now)
            case "ask":
                session.ask(Side(message["side"]), now)
            case "candidates":
                candidates = [IceCandidate(text) for text in message["candidates"]]
                session.add_candidates(Side(message["side"]), candidates, now)
            case "servers":
                servers = [(Server(**s["server"]), s["address"]) for s in message["servers"]]
                session.add_servers(servers, now)
            case "move":
                self._move(entry, message, now)
            case "perform":
                session.perform(order_from_json(message), now)
            case op:
                raise ControlError(f"unknown verb {op!r}")

    def _tell(self, message: Message) -> None:
        self._outgoing += frame(message)
        if len(self._outgoing) > _MOST_UNREAD:
            log.error("the control process does not read")
            self._is_running = False
        self._write_control()

    def _tell_event(self, number: int, event: MediaEvent) -> None:
        self._tell({"op": "event", "session": number, **event_to_json(event)})

    def _write_control(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self._control.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._is_running = False
        if self._is_writing != bool(self._outgoing):
            self._is_writing = bool(self._outgoing)
            wanted = select.EPOLLIN | (select.EPOLLOUT if self._is_writing else 0)
            self._epoll.modify(self._control.fileno(), wanted)

    # --- sessions

    def _open(self, message: Message, now: float) -> None:
        number = message["session"]
        sockets: dict[int, socket.socket] = {}
        taken: list[int] = []
        try:
            ground = self._bind(message, sockets, taken, now)
        except OSError as error:
            log.warning("no port for a session: %s", error)
            self._release(sockets, taken, now)
            is_full = error.errno == errno.EADDRINUSE
            text = "All of the media ports are in use." if is_full else "No media port can be had."
            self._tell_event(number, Failed(Failure.NO_PORT, text))
            return
        session = Session(
            settings=settings_from_json(message["settings"]),
            ground=ground,
            random=os.urandom,
            now=now,
            servers_follow=message["servers_follow"],
        )
        entry = _Entry(number, session, sockets, ports=taken)
        if not self._entries:
            self._accounted, self._accounted_at = time.process_time(), now
        self._entries[number] = entry
        for key, one in sockets.items():
            self._ways[one.fileno()] = (entry, key, one)
            self._epoll.register(one.fileno(), select.EPOLLIN)

    def _bind(
        self, message: Message, sockets: dict[int, socket.socket], taken: list[int], now: float
    ) -> Ground:
        if self._ports is None:
            raise OSError("not configured")
        trunk, addresses = message["trunk_listen"], message["addresses"]
        sockets[_RTP], sockets[_RTCP] = self._ports.bind_pair(trunk, now)
        taken += [_local(_RTP, sockets[_RTP]).port, _local(_RTCP, sockets[_RTCP]).port]
        webrtc = dict(enumerate(self._ports.bind_each(addresses, now), _FIRST_WEBRTC))
        sockets.update(webrtc)
        taken.append(_local(_FIRST_WEBRTC, webrtc[_FIRST_WEBRTC]).port)
        for one in sockets.values():
            _expedite(one)
        return Ground(
            webrtc=tuple(_local(number, one) for number, one in webrtc.items()),
            rtp=_local(_RTP, sockets[_RTP]),
            rtcp=_local(_RTCP, sockets[_RTCP]),
            address=message["trunk_address"],
            certificate=self._certificate,
            advertise=message["advertise"],
            wall_offset=self._wall_offset,
            sounds=self._sounds,
        )

    def _move(self, entry: _Entry, message: Message, now: float) -> None:
        """Stand on other addresses than before. Those that stay keep their sockets, and the trunk's
        are bound to none or to one that was set."""
        wanted: list[str] = message["addresses"]
        webrtc = [(n, one) for n, one in entry.sockets.items() if n >= _FIRST_WEBRTC]
        stay = {local.address: local for local in (_local(n, one) for n, one in webrtc)}
        stay = {address: local for address, local in stay.items() if address in wanted}
        added = [address for address in wanted if address not in stay]
        try:
            bound = self._ports.bind_each(added, now) if added and self._ports else []
        except OSError as error:
            log.warning("no port for a session that moves: %s", error)
            return
        new = dict(enumerate(bound, max(entry.sockets) + 1))
        entry.sockets.update(new)
        entry.ports += {_local(n, one).port for n, one in new.items()}
        for number, one in new.items():
            _expedite(one)
            self._ways[one.fileno()] = (entry, number, one)
            self._epoll.register(one.fileno(), select.EPOLLIN)
        locals_ = (*stay.values(), *(_local(n, one) for n, one in new.items()))
        entry.session.move(locals_, message["trunk_address"], now)
        kept = {local.number for local in locals_}
        gone = {n: entry.sockets.pop(n) for n, _ in webrtc if n not in kept}
        self._release(gone, [], now)

    def _release(self, sockets: dict[int, socket.socket], ports: list[int], now: float) -> None:
        for one in sockets.values():
            self._ignore(one)
            one.close()
        if self._ports is not None:
            self._ports.give_back(ports, now)

    def _close(self, number: int, now: float) -> None:
        entry = self._entries.get(number)
        if entry is not None:
            self._drop(entry, now)
        else:  # it never got its ports
            self._tell_event(number, Closed(Report()))

    def _drop(self, entry: _Entry, now: float) -> None:
        """Close a session; its `Closed` is told in any case."""
        self._entries.pop(entry.number, None)
        closed: MediaEvent = Closed(Report())
        try:
            entry.session.close(now)
            for output in entry.session.poll():
                if isinstance(output, Closed):
                    closed = output
                else:
                    self._carry_out(entry, output)
        except Exception:  # the session goes in any case
            log.exception("session %d could not close", entry.number)
        self._unplug(entry)
        self._release(entry.sockets, entry.ports, now)
        self._tell_event(entry.number, closed)

    def _guard(self, entry: _Entry, action: Callable[[], None]) -> None:
        """Do something with a session and carry out what it wants; a crash is its own only."""
        try:
            action()
            self._flush(entry)
        except ControlError:
            raise
        except Exception as error:  # noqa: BLE001  # other calls must go on
            self._crashed(entry, error)

    def _crashed(self, entry: _Entry, error: Exception) -> None:
        log.error("session %d crashed", entry.number, exc_info=error)
        entry.has_crashed = True
        self._unplug(entry)
        text = "The media engine failed in this call."
        self._tell_event(entry.number, Failed(Failure.ENGINE, text))

    def _unplug(self, entry: _Entry) -> None:
        """From now on neither time nor anything that arrives reaches the session."""
        entry.armed = entry.chores = None
        for stream in list(entry.streams):
            self._close_stream(entry, stream)
        for one in entry.sockets.values():
            self._ignore(one)

    def _ignore(self, one: socket.socket) -> None:
        if self._ways.pop(one.fileno(), None) is not None:
            self._epoll.unregister(one.fileno())

    # --- packets

    def _on_datagram(self, way: _Way, now: float) -> None:
        """One datagram per wake-up: a session has one in 20 ms, and epoll is level-triggered.

        What is written out here and not left to a function of its own is what every packet takes:
        each call fewer is worth a hundredth of what Python costs it.
        """
        entry, number, one = way
        try:
            data, source = one.recvfrom(_MOST_DATAGRAM)
        except OSError:
            return
        session = entry.session
        try:
            moved = session.receive(data, source if len(source) == 2 else source[:2], number, now)
            for output in session.poll():
                if type(output) is Transmit and output.socket >= 0:
                    try:  # noqa: SIM105  # as in `_carry_out`
                        entry.sockets[output.socket].sendto(output.data, output.destination)
                    except OSError:
                        pass
                else:
                    self._carry_out(entry, output)
            if moved:
                entry.chores = session.chores()
            if moved is not None:
                self._arm(entry)
        except Exception as error:  # noqa: BLE001  # other calls must go on
            self._crashed(entry, error)

    def _flush(self, entry: _Entry) -> None:
        while outputs := entry.session.poll():
            for output in outputs:
                self._carry_out(entry, output)
        entry.chores = entry.session.chores()
        self._arm(entry)

    def _carry_out(self, entry: _Entry, output: Output) -> None:
        if isinstance(output, Transmit):
            if output.socket < 0:
                stream = entry.streams.get(output.socket)
                if stream is not None:
                    stream.send(output.data)
                    self._watch_stream(stream)
                return
            # `suppress` would cost each packet as much as the building of its header does.
            try:  # noqa: SIM105
                entry.sockets[output.socket].sendto(output.data, output.destination)
            except (OSError, KeyError):
                pass  # unreachable, no room, or moved away: a lost packet like any other
        elif isinstance(output, Captured):
            packets = base64.b64encode(pack(output.packets)).decode()
            self._tell({"op": "captured", "session": entry.number, "packets": packets})
        elif isinstance(output, OpenStream):
            self._open_stream(entry, output)
        elif isinstance(output, CloseStream):
            self._close_stream(entry, output.socket)
        else:
            self._tell_event(entry.number, output)

    # --- streams to TURN servers

    def _open_stream(self, entry: _Entry, wish: OpenStream) -> None:
        if wish.tls_name is not None and self._tls is None:
            self._tls = ssl.create_default_context()
        context = self._tls if wish.tls_name is not None else None
        try:
            stream = Stream(wish.address, wish.port, wish.tls_name, context)
        except OSError as error:
            log.info("no stream to a TURN server: %s", error)
            entry.session.stream_closed(wish.socket, time.monotonic())
            return
        entry.streams[wish.socket] = stream
        self._streams[stream.fileno()] = (entry, wish.socket, stream)
        self._epoll.register(stream.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _close_stream(self, entry: _Entry, number: int) -> None:
        stream = entry.streams.pop(number, None)
        if stream is not None:
            del self._streams[stream.fileno()]
            with contextlib.suppress(OSError):  # a failed TLS stream has closed its socket by then
                self._epoll.unregister(stream.fileno())
            stream.close()

    def _watch_stream(self, stream: Stream) -> None:
        if stream.fileno() in self._streams:
            wanted = select.EPOLLIN | (select.EPOLLOUT if stream.wants_write else 0)
            self._epoll.modify(stream.fileno(), wanted)

    def _on_stream(self, entry: _Entry, number: int, stream: Stream, now: float) -> None:
        for happening in stream.handle():
            if happening is None:
                self._close_stream(entry, number)
                entry.session.stream_closed(number, now)
                return
            if isinstance(happening, bytes):
                entry.session.receive_stream(happening, number, now)
            else:
                entry.session.stream_opened(number, now)
        self._watch_stream(stream)

    # --- time

    def _arm(self, entry: _Entry) -> None:
        deadline, chores = entry.session.next_tick, entry.chores
        if deadline is None or (chores is not None and chores < deadline):
            deadline = chores
        if deadline is not None and deadline != entry.armed:
            entry.armed = deadline
            self._timer_count += 1
            heapq.heappush(self._timers, (deadline, self._timer_count, entry))

    def _run_timers(self, now: float) -> None:
        due: list[_Entry] = []
        while self._timers and self._timers[0][0] <= now:
            deadline, _, entry = heapq.heappop(self._timers)
            if entry.armed == deadline:  # else it was moved since
                entry.armed = None
                due.append(entry)
        for entry in due:
            if entry.chores is not None and entry.chores <= now:
                self._guard(entry, partial(entry.session.handle_timer, now))
            else:
                self._tick(entry, now)

    def _tick(self, entry: _Entry, now: float) -> None:
        try:
            entry.session.tick(now)
            for output in entry.session.poll():
                self._carry_out(entry, output)
            self._arm(entry)
        except Exception as error:  # noqa: BLE001  # other calls must go on
            self._crashed(entry, error)


def _warm_up() -> None:
    """Load the codecs' libraries now and not between the first call's answer and its sound."""
    for name, rates in codec.RATES.items():
        codec.encoder(name, rates[0], {})
        codec.decoder(name, rates[0])


def _local(number: int, one: socket.socket) -> LocalSocket:
    address, port = one.getsockname()[:2]
    return LocalSocket(number, address, port)


def _expedite(one: socket.socket) -> None:
    """Ask routers for the voice queue; a system that refuses loses nothing."""
    with contextlib.suppress(OSError):
        if one.family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _EXPEDITED)
        else:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _EXPEDITED)


def main(arguments: list[str]) -> None:
    keep_memory_private()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(
        level=arguments[1] if len(arguments) > 1 else "INFO",
        format=f"%(asctime)s %(levelname)s %(name)s[{os.getpid()}]: %(message)s",
    )
    with socket.socket(fileno=int(arguments[0])) as control:
        worker = Worker(control=control)
        gc.freeze()  # what is there now stays; the collector need not look at it again
        worker.run()


if __name__ == "__main__":
    main(sys.argv[1:])
