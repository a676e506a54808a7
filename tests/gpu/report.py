# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What was found, as a page and as numbers; both are complete after each figure."""

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitseg.recipes.cards import markdown_table
from vitseg.replacing import replacing, write_json


@dataclass(frozen=True)
class Goal:
    """
    What is asked, by the key under which a section tells its figure.

    Args:
        text: what it is about.
        least: the number that is to be reached; `None` where a figure is all that is wanted.
        is_speed: whether the run is no failure where it is missed.
    """

    text: str
    least: float | None = 1.0
    is_speed: bool = False

    @property
    def asked(self) -> str:
        if self.least is None:
            return ""
        return f"at least {self.least:g}" if self.is_speed else "all"


@dataclass
class Course:
    """How a section went."""

    section: str
    outcome: str = "not run"
    seconds: float = 0.0
    error: str = ""


@dataclass
class Report:
    """
    The figures of a run, and how its sections went.

    Args:
        folder: where report.md and figures.json are written.
        machine: what measured.
        goals: by key, in the order of the page.
        sections: their names, in the order of the page.
    """

    folder: Path
    machine: dict[str, Any]
    goals: dict[str, Goal]
    sections: list[str]
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    courses: dict[str, Course] = field(init=False)
    left_out: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))

    def __post_init__(self) -> None:
        self.courses = {name: Course(name) for name in self.sections}

    def tell(self, section: str, figure: dict[str, Any]) -> None:
        """Take a section's figure: the `key` of its goal, `value` and `text` or `error`, and what else it knows."""
        if figure["key"] not in self.goals:
            raise ValueError(f"{section} tells of {figure['key']!r}, which is no goal.")
        self.figures[figure["key"]] = {"section": section, **figure}
        self.write()

    def leave_out(self, keys: Iterable[str], reason: str) -> None:
        """Goals that cannot be looked at here, which is no failure."""
        self.left_out |= dict.fromkeys(keys, reason)

    def close(self, section: str, outcome: str, seconds: float = 0.0, error: str = "") -> None:
        self.courses[section] = Course(section, outcome, seconds, error)
        self.write()

    def verdict(self, key: str) -> str:
        goal, figure = self.goals[key], self.figures.get(key)
        if figure is None:
            return "not run"
        if "error" in figure:
            return "failed"
        if goal.least is None:
            return ""
        return "held" if figure["value"] >= goal.least else "missed"

    @property
    def failures(self) -> list[str]:
        """What must hold but does not, or was not found out."""
        return [
            key
            for key, goal in self.goals.items()
            if not goal.is_speed and key not in self.left_out and self.verdict(key) != "held"
        ]

    def write(self) -> None:
        write_json(
            self.folder / "figures.json",
            {
                "date": self.date,
                "seconds": round(time.monotonic() - self.started, 1),
                "machine": self.machine,
                "goals": {
                    key: dataclasses.asdict(goal) | {"verdict": self.verdict(key)} for key, goal in self.goals.items()
                },
                "figures": list(self.figures.values()),
                "sections": [dataclasses.asdict(course) for course in self.courses.values()],
            },
        )
        with replacing(self.folder / "report.md") as unfinished:
            unfinished.write_text(self.page(), encoding="utf-8")

    def page(self) -> str:
        verdicts = [self.verdict(key) for key in self.goals]
        counts = ", ".join(
            f"{verdicts.count(word)} {word}" for word in ("held", "missed", "failed", "not run") if word in verdicts
        )
        facts = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        rows = [(goal.text, goal.asked, self.figure_text(key), self.verdict(key)) for key, goal in self.goals.items()]
        courses = [
            (course.section, course.outcome, f"{course.seconds:.0f}" if course.seconds else "")
            for course in self.courses.values()
        ]
        errors = [
            f"### {name}\n\n```text\n{text.strip()}\n```"
            for name, text in (
                *((key, figure["error"]) for key, figure in self.figures.items() if "error" in figure),
                *((key, "\n\n".join(figure["wrong"])) for key, figure in self.figures.items() if figure.get("wrong")),
                *((course.section, course.error) for course in self.courses.values() if course.error),
            )
        ]
        return (
            "\n\n".join(
                [
                    "# What a GPU shows",
                    f"Measured by `make gpu` on {self.date}: {facts}.",
                    f"Goals: {counts}.",
                    markdown_table(("", "asked", "figure", ""), rows),
                    "## Sections",
                    markdown_table(("", "", "seconds"), courses),
                    *(["## Messages", *errors] if errors else []),
                ]
            )
            + "\n"
        )

    def figure_text(self, key: str) -> str:
        """A figure in words, and of an error the last line: the rest is under "Messages"."""
        figure = self.figures.get(key, {})
        text = figure.get("text") or figure.get("error", "").strip() or self.left_out.get(key, "")
        return text.splitlines()[-1].replace("|", "\\|")[:160] if text else ""
