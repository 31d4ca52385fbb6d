"""docs/interop.md says what was tried with others: each row has its test, each test its row.

Several rows may share a test that tries each of them.
"""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parent / "docs" / "interop.md"
ROW = re.compile(r"(?m)^\| .* \| `(test_\w+\.py::test_\w+)` \|$")


def functions(folder: Path) -> list[str]:
    return [
        f"{path.name}::{node.name}"
        for path in sorted(folder.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]


def test_each_row_has_its_test_and_each_test_its_row() -> None:
    rows, there = ROW.findall(TABLE.read_text()), functions(HERE / "interop")
    assert set(rows) == set(there)
    assert len(there) == len(set(there))
