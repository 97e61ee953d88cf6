"""What was injected so far and what came of it: JSON lines that every run adds to, and their tables."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Ledger:
    """The disturbed studies, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[Line] = []
        if path.exists():
            self.lines = [json.loads(line) for line in path.read_text().splitlines()]

    def add(self, line: Line) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)

    def studies(self, fault: str, task: str, slots: int) -> int:
        """How many studies of that kind there are."""
        return len(self._of(fault, task, slots))

    def injected(self, fault: str, task: str, slots: int) -> int:
        """How often they were disturbed."""
        return sum(len(line["injected"]) for line in self._of(fault, task, slots))

    def _of(self, fault: str, task: str, slots: int) -> list[Line]:
        return [
            one for one in self.lines if (one["fault"], one["task"], one["slots"]) == (fault, task, slots)
        ]


def table(lines: Sequence[Line]) -> str:
    """Fault by fault: how often, in how many studies and trials, and what was lost, doubled or wrong."""
    rows = [
        ("fault", "task", "slots", "times", "studies", "trials", "lost", "doubled", "wrong", "slowest end")
    ]
    kinds = list(dict.fromkeys((one["fault"], one["task"], one["slots"]) for one in lines))
    for fault, task, slots in sorted(kinds, key=lambda kind: [k[0] for k in kinds].index(kind[0])):
        those = [one for one in lines if (one["fault"], one["task"], one["slots"]) == (fault, task, slots)]
        ends = [hit["ended after"] for one in those for hit in one["injected"] if "ended after" in hit]
        rows.append(
            (
                fault,
                task,
                str(slots),
                str(sum(len(one["injected"]) for one in those)),
                str(len(those)),
                str(sum(one["trials"] for one in those)),
                str(sum(one["lost"] for one in those)),
                str(sum(one["doubled"] for one in those)),
                str(sum(len(one["faults"]) for one in those)),
                f"{max(ends):.1f} s" if ends else "",
            )
        )
    return _columns(rows)


def moments(lines: Sequence[Line]) -> str:
    """Where in a study of ours the moments fell."""
    lines = [line for line in lines if all("evaluations" in one for one in line["injected"])]
    rows = [
        (
            "fault",
            "before the study is written",
            "before an evaluation",
            "first half",
            "second half",
            "all written",
        )
    ]
    for fault in dict.fromkeys(one["fault"] for one in lines):
        hit: Counter[int] = Counter()
        for line in lines:
            if line["fault"] == fault:
                hit.update(_part(one["evaluations"], line["evaluations"]) for one in line["injected"])
        rows.append((fault, *(str(hit[part]) for part in range(5))))
    return _columns(rows)


def _part(evaluations: int, of: int) -> int:
    if evaluations <= 0:
        return evaluations + 1
    return 4 if evaluations >= of else 2 + int(2 * evaluations / of)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """The rows as a table of Markdown."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([text[0], "| " + " | ".join("-" * width for width in widths) + " |", *text[1:], ""])
