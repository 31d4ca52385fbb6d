"""A YAML file as plain values that remember their lines, and the mistakes found in it.

Every plain scalar stays text (only `null`, `~` and nothing mean None), because YAML 1.1 would read
the region `NO` as false and the number +493012345678 without its plus. What a text stands for is
the business of the one who knows what is expected there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in the file.

    Attributes:
        line: counted from 1; 0 where the whole file is meant.
        place: "trunks[0].port"; "" for the whole file.
        text: what is wrong, in plain words.
        allowed: what would be right.
    """

    line: int
    place: str
    text: str
    allowed: str = ""

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        allowed = f"; allowed: {self.allowed}" if self.allowed else ""
        return f"{self.line}: {place}{self.text}{allowed}"


class ConfigError(Exception):
    """The file cannot be used. `mistakes` are all of them, in the order of the file."""

    def __init__(self, path: Path, mistakes: list[Mistake]) -> None:
        self.path = path
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.line))
        super().__init__("\n".join(f"{path}:{mistake}" for mistake in self.mistakes))


class Document:
    """The file as plain values, with the line of each, and the mistakes found so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree: Any = {}
        self.mistakes: list[Mistake] = []
        self._lines: dict[Place, int] = {(): 1}

    def read(self, text: str) -> None:
        """Read the text into `tree`; raises ConfigError if it is not YAML at all."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            self._complain_at(line, "", f"is not YAML: {error.problem or error.context}")
            raise self.error() from None
        except yaml.YAMLError as error:
            self._complain_at(0, "", f"is not YAML: {error}")
            raise self.error() from None
        self.tree = {} if node is None else self._value(node, ())

    def complain(self, place: Place, text: str, allowed: str = "") -> None:
        line = 0
        for length in range(len(place), -1, -1):
            if place[:length] in self._lines:
                line = self._lines[place[:length]]
                break
        self._complain_at(line, show(place), text, allowed)

    def holds_items(self, place: Place) -> bool:
        """Whether there is a list at that place with something in it."""
        return (*place, 0) in self._lines

    def error(self) -> ConfigError:
        """All mistakes as one error."""
        return ConfigError(self.path, self.mistakes)

    def _complain_at(self, line: int, place: str, text: str, allowed: str = "") -> None:
        mistake = Mistake(line, place, text, allowed)
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def _value(self, node: yaml.Node, place: Place) -> Any:
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            plain = node.style is None
            return None if plain and node.value in ("", "~", "null", "Null", "NULL") else node.value
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*place, i)) for i, item in enumerate(node.value)]
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            here = (*place, key)
            if key in found:
                self._complain_at(key_node.start_mark.line + 1, show(here), "is set twice")
                continue
            self._lines[here] = key_node.start_mark.line + 1
            found[key] = self._value(value_node, here)
        return found


def show(place: Place) -> str:
    """("trunks", 0, "port") as trunks[0].port."""
    shown = ""
    for part in place:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else part
    return shown
