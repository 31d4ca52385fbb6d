"""The record of one call: what happened when, why it ended, and what was heard.

One line for people and one JSON object for machines, both without anything secret; the number is
shortened in both.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime

from bridge.call.call import Call
from bridge.call.events import EndReason
from media.plane import Report, SideReport


@dataclass(slots=True)
class CallRecord:
    """What is known about a call beside its state.

    Attributes:
        direction: "out" from a room to a phone, "in" the other way.
        number: shortened.
        started_at: wall clock.
        instants: named moments, monotonic seconds; the first is the origin in what is written.
    """

    id: str
    direction: str
    line: str
    number: str
    started_at: datetime
    instants: dict[str, float] = field(default_factory=dict)

    def mark(self, name: str, at: float) -> None:
        """Note when something happened first."""
        self.instants.setdefault(name, at)

    def timeline_ms(self, call: Call) -> dict[str, float]:
        """All moments of the call in their order, milliseconds since the first."""
        moments = call.instants | self.instants
        if not moments:
            return {}
        origin = min(moments.values())
        ordered = sorted(moments.items(), key=lambda item: item[1])
        return {name: round((at - origin) * 1000, 2) for name, at in ordered}

    def talked(self, call: Call) -> float:
        """Seconds between the answer and the end; 0 for a call that nobody took."""
        answered, ended = call.instants.get("answered"), call.instants.get("ended")
        return ended - answered if answered is not None and ended is not None else 0.0

    def describe(self, call: Call) -> str:
        """The line for people."""
        why = call.reason.value if call.reason else "no reason"
        by = call.ended_by.value if call.ended_by else "nobody"
        said = f", {_said(call)}" if _said(call) else ""
        text = f"call {self.direction}, line {self.line}, {self.number}: {why} ({by}{said})"
        if "answered" in call.instants:
            text += f" after {self.talked(call):.1f} s"
        if call.report is not None and call.report.webrtc.codec:
            report = call.report
            text += f"; room {_side(report.webrtc)}; phone {_side(report.sdes)}"
        return text

    def to_json(self, call: Call) -> str:
        """The object for machines."""
        return json.dumps(
            {
                "call": self.id,
                "direction": self.direction,
                "line": self.line,
                "number": self.number,
                "started_at": self.started_at.isoformat(timespec="milliseconds"),
                "reason": call.reason.value if call.reason else None,
                "ended_by": call.ended_by.value if call.ended_by else None,
                "said": _said(call),
                "talked_s": round(self.talked(call), 3),
                "timeline_ms": self.timeline_ms(call),
                "digits": len(call.digits),
                "media": asdict(call.report or Report()),
            },
            separators=(",", ":"),
        )


def _said(call: Call) -> str:
    """The far end's words; where a call is forwarded to is a number, and not for a log."""
    return "" if call.reason is EndReason.FORWARDED else call.text


def _side(side: SideReport) -> str:
    total = side.packets_received + side.packets_lost
    cipher = "unencrypted" if side.in_clear else side.cipher
    text = f"{side.codec} {cipher}, {side.packets_lost} of {total} lost".strip()
    if side.far_packets_lost:
        text += f", {side.far_packets_lost} of {side.packets_sent} on the way there"
    if side.round_trip_ms is not None:
        text += f", {side.round_trip_ms:.0f} ms there and back"
    return text
