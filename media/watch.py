"""Whether one side is heard and hears, from what arrives of it; pure.

Inward there is silence when nothing authentic has come, audio or RTCP, for longer than a sender
that is alive stays quiet: seconds. Muted browsers send on, at least a few packets a second. Some
PBXs do not: they suppress silence, with comfort noise (RFC 3389) or without. Who is seen to pause
so, with sequence numbers that go on where they were, is given the time of three RTCP intervals.
Others pause only when somebody behind them holds, and say nothing of it, not even in signalling;
their reports go on. Who has sent reports is therefore not called silent before the next is overdue.

Outward the far end's reports tell (RFC 3550 §6.4.1): the highest sequence number that it received
must follow what we sent. One that never reports sensibly is not judged by that.
"""

from typing import Final

from media.rtp import RtpPacket

UNHEARD: Final = 3.5  # seconds; looked at twice a second, it is noticed within four
_UNHEARD_PAUSING: Final = 15.0  # from who has paused before
_LONGEST_INTERVAL: Final = 6.0  # seconds between reports that are waited for
_FIRST_INTERVAL: Final = 5.0  # the same until it is known; RFC 3550 §6.2
_OVERDUE: Final = 0.3  # seconds that a report may be late
_PAUSE: Final = 1.0  # seconds without audio that are more than jitter
_COMFORT_NOISE: Final = 13  # payload type (RFC 3551 §6)
_BEHIND: Final = 75  # packets, a second and a half: round trip, jitter and reporting take less
# A trunk may answer early and stay silent while the phone rings, so first sound has longer; so has
# who pauses and sends no RTCP.
_PATIENCE: Final = 4


class Watch:
    """One side.

    Attributes:
        heard_at: when something authentic came last, or was first due; None before.
        is_flowing: whether audio has come.
        is_lost: inward (False) and outward (True): whether nothing passes.
    """

    def __init__(self) -> None:
        self.heard_at: float | None = None
        self.is_flowing = False
        self.is_lost = {False: False, True: False}
        self._audio_at = 0.0
        self._sequence = 0
        self._pauses = False
        self._reports = False  # RTCP comes
        self._report_at = 0.0  # when the last of it came, and the seconds between the last three
        self._intervals = (0.0, 0.0)
        self._follows = False  # its reports of us make sense
        self._sent = 0  # our next sequence number when the last of them came

    def restart(self, now: float) -> None:
        """Terms are new, or the side is able to send only now: begin again."""
        if self.heard_at is None:
            self._report_at = now
        self.heard_at = self._audio_at = now
        self.is_lost = {False: False, True: False}
        self._follows = False

    def audio(self, packet: RtpPacket, now: float) -> None:
        """An authentic packet of audio came."""
        if packet.payload_type == _COMFORT_NOISE or (
            self.is_flowing
            and now - self._audio_at > _PAUSE
            and packet.sequence == (self._sequence + 1) & 0xFFFF
        ):
            self._pauses = True
        self._sequence = packet.sequence
        self.is_flowing = True
        self.heard_at = self._audio_at = now

    def follow(self, sequence: int, now: float) -> None:
        """The short form of `audio`: sound came, numbered right behind what came last."""
        if now - self._audio_at > _PAUSE:
            self._pauses = True
        self._sequence = sequence
        self.heard_at = self._audio_at = now

    def report(self, highest: int | None, sequence: int, now: float) -> None:
        """A report of the far end came.

        Args:
            highest: sequence number of ours that it had received; None if it says nothing of us,
                as who received nothing since its last report does.
            sequence: of our next packet.
        """
        self.heard_at = now
        if self._reports:
            self._intervals = self._intervals[1], min(now - self._report_at, _LONGEST_INTERVAL)
        self._reports, self._report_at = True, now
        if highest is not None:
            is_behind = _BEHIND < (sequence - 1 - highest) & 0xFFFF < 0x8000
        else:
            is_behind = (sequence - self._sent) & 0xFFFF > _BEHIND
        if not is_behind:
            self._follows |= highest is not None
            self._sent = sequence
        if self._follows:
            self.is_lost[True] = is_behind

    @property
    def hears(self) -> bool | None:
        """Whether what we send arrives, as the far end says; None as long as it said nothing that
        could be believed, since nothing else tells."""
        return not self.is_lost[True] if self._follows else None

    def look(self, now: float) -> None:
        """See whether a side that must send has been quiet for too long."""
        limit = _UNHEARD_PAUSING if self._pauses else UNHEARD
        is_judged = self._is_overdue(now) and (self._reports or not self._pauses)
        quiet = self.heard_at is not None and now - self.heard_at > limit
        self.is_lost[False] = quiet and is_judged

    def _is_overdue(self, now: float) -> bool:
        """Whether a report should have come, if any does; who was never heard is not waited for."""
        if not self.is_flowing:
            return True
        return now - self._report_at > (max(self._intervals) or _FIRST_INTERVAL) + _OVERDUE

    def is_silent(self, limit: float, now: float) -> bool:
        """Whether a side that must send has been quiet for so long that it must be gone."""
        if not self.is_flowing or (self._pauses and not self._reports):
            limit *= _PATIENCE
        return self.heard_at is not None and now - self.heard_at > limit
