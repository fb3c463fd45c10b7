"""Results of a check, for the log, the report and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Figures = Mapping[str, float | str | bool | None]
"""What was measured, by name, for programs."""


class Severity(StrEnum):
    """``NOTE`` is for information; ``WRONG`` must be fixed, and the finding says how."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked: ``what``, and a sentence about it."""

    severity: Severity
    what: str
    text: str
    figures: Figures = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "severity": self.severity.value,
            "what": self.what,
            "text": self.text,
            "figures": dict(self.figures),
        }


class SectionKind(StrEnum):
    """The subject of a section."""

    ENDPOINT = "endpoint"
    MACHINE = "machine"
    CLUSTER = "cluster"
    STASH = "stash"
    FRAMES = "frames"
    FORECAST = "forecast"


@dataclass(frozen=True, slots=True)
class Section:
    """All findings about one subject. ``title``: its name, such as that of an endpoint."""

    kind: SectionKind
    title: str
    findings: tuple[Finding, ...]

    @property
    def works(self) -> bool:
        """True if nothing is wrong."""
        return all(finding.severity is not Severity.WRONG for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "kind": self.kind.value,
            "title": self.title,
            "works": self.works,
            "findings": [finding.as_dict() for finding in self.findings],
        }


def ok(what: str, text: str, /, **figures: float | str | bool | None) -> Finding:
    """Return a finding that needs no attention."""
    return Finding(Severity.OK, what, text, figures)


def note(what: str, text: str, /, **figures: float | str | bool | None) -> Finding:
    """Return a finding for information."""
    return Finding(Severity.NOTE, what, text, figures)


def wrong(what: str, text: str, /, **figures: float | str | bool | None) -> Finding:
    """Return a finding that must be fixed."""
    return Finding(Severity.WRONG, what, text, figures)


def section_lines(section: Section) -> Sequence[str]:
    """Return the title, and a line for each finding, without line ends."""
    width = max((len(severity.value) for severity in Severity), default=0)
    return [
        section.title,
        *(
            f"  {finding.severity.value:<{width}}  {finding.what}: {finding.text}"
            for finding in section.findings
        ),
    ]
