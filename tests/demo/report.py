"""What the demonstration shows: each call's ladder, its times, what protected it, what was heard.

Everything is rendered as plain lines with a few marks of style, which become colours in a terminal
and spans in a page; so both show the same, and a test can read it.
"""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

WIDTH = 30  # of a lane between two life lines
LANES = ("browser", "Ringback", "Asterisk")
TEXT_LANES = ("browser", "Ringback", "SMS provider")
STYLES = {"b": "1", "dim": "2", "good": "32", "bad": "31", "accent": "36"}
_MARK = re.compile(r"\{(/?)(b|dim|good|bad|accent)\}")


@dataclass(frozen=True, slots=True)
class Step:
    """One message: when (wall clock, seconds), in which lane (0 Matrix, 1 the other), which way."""

    at: float
    lane: int
    rightward: bool
    text: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A tone that was sent at one end and what was found of it at the other."""

    where: str
    sent_hz: float
    sent_dbfs: float
    found_hz: float
    found_dbfs: float

    @property
    def good(self) -> bool:
        near = abs(self.found_hz - self.sent_hz) <= 1
        return near and abs(self.found_dbfs - self.sent_dbfs) <= 3


@dataclass(frozen=True, slots=True)
class End:
    """How one side of a call was carried."""

    name: str
    codec: str
    cipher: str
    transport: str
    received: int
    lost: int

    @property
    def good(self) -> bool:
        return bool(self.cipher) and self.received > 0 and self.lost == 0


@dataclass(frozen=True, slots=True)
class Act:
    """One part of the demonstration."""

    title: str
    steps: Sequence[Step]
    times: Sequence[tuple[str, float]] = ()
    ends: Sequence[End] = ()
    heard: Sequence[Heard] = ()
    texts: Sequence[tuple[str, bool]] = field(default_factory=tuple)
    lanes: Sequence[str] = LANES

    @property
    def good(self) -> bool:
        parts = [*(end.good for end in self.ends), *(tone.good for tone in self.heard)]
        return all(parts) and all(good for _, good in self.texts) and bool(self.steps)


def lines(act: Act) -> list[str]:
    """The whole act, with marks of style."""
    out = [f"{{b}}{act.title}{{/b}}", "", *ladder(act.steps, act.lanes), ""]
    for name, ms in act.times:
        out.append(f"  {name:<58}{ms:>8.0f} ms")
    if act.times:
        out.append("")
    for end in act.ends:
        total = end.received + end.lost
        good = "good" if end.good else "bad"
        carried = f"{end.codec:<12} {end.cipher:<26} {end.transport:<17}"
        out.append(f"  {end.name:<22}{carried}{{{good}}}{end.lost} of {total} lost{{/{good}}}")
    if act.ends:
        out.append("")
    for tone in act.heard:
        good = "good" if tone.good else "bad"
        sent = f"{tone.sent_hz:.0f} Hz at {tone.sent_dbfs:.1f} dBFS sent"
        found = f"{tone.found_hz:.1f} Hz at {tone.found_dbfs:.1f} dBFS heard"
        out.append(f"  {tone.where:<22}{sent:<29}{{{good}}}{found}{{/{good}}}")
    if act.heard:
        out.append("")
    for text, right in act.texts:
        good = "good" if right else "bad"
        out.append(f"  {{{good}}}{'✓' if right else '✗'}{{/{good}}} {text}")
    if act.texts:
        out.append("")
    return out


def ladder(steps: Sequence[Step], lanes: Sequence[str] = LANES) -> list[str]:
    """Who said what to whom, a line a message, milliseconds since the first."""
    if not steps:
        return ["  {bad}nothing was said{/bad}"]
    ordered = sorted(steps, key=lambda step: step.at)
    origin = ordered[0].at
    head = " " * 12 + "".join(f"{name:<{WIDTH + 1}}" for name in lanes)
    out = [f"{{dim}}{head.rstrip()}{{/dim}}"]
    for step in ordered:
        drawn = [" " * WIDTH, " " * WIDTH]
        drawn[step.lane] = arrow(step.text, step.rightward)
        moment = f"{(step.at - origin) * 1000:>8.0f} ms"
        out.append(f"{{dim}}{moment}{{/dim}}  │{drawn[0]}│{drawn[1]}│")
    return out


def arrow(text: str, rightward: bool) -> str:
    """A lane's content: the text on an arrow that fills it."""
    text = text[: WIDTH - 6]
    drawn = f" {text} ".center(WIDTH - 1, "─")
    padded = drawn.replace(f" {text} ", f" {{accent}}{text}{{/accent}} ", 1)
    return padded + "▶" if rightward else "◀" + padded


def to_terminal(line: str, *, coloured: bool) -> str:
    if not coloured:
        return _MARK.sub("", line)
    return _MARK.sub(lambda m: "\033[0m" if m[1] else f"\033[{STYLES[m[2]]}m", line)


def to_page(title: str, content: Sequence[str]) -> str:
    """The same as one self-contained HTML page."""
    span: Callable[[re.Match[str]], str] = lambda m: (  # noqa: E731
        "</span>" if m[1] else f'<span class="{m[2]}">'
    )
    body = "\n".join(_MARK.sub(span, html.escape(line)) for line in content)
    return _PAGE.format(title=html.escape(title), body=body)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
  body {{ background: #101418; color: #d8dee6; margin: 2rem; }}
  pre {{ font: 14px/1.35 "DejaVu Sans Mono", "Noto Sans Mono", monospace; }}
  .b {{ font-weight: bold; color: #fff; }} .dim {{ color: #7d8894; }} .accent {{ color: #6cc7d9; }}
  .good {{ color: #7ccf83; }} .bad {{ color: #ef6b6b; font-weight: bold; }}
</style>
<pre>{body}</pre>
</html>
"""
