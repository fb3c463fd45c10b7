"""A run of *Tag Videos* and one of *Check Set-up*, made up, for the docs: ``python -m
tools.example_report FOLDER`` writes their reports there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from haven.report import (
    End,
    ItemChange,
    ItemKind,
    ItemReport,
    MarkerChange,
    Outcome,
    RunReport,
    write_report,
)
from haven.report.record import to_json
from vlm_engine.checkup.values import Section, SectionKind, note, ok, wrong
from vlm_engine.types import (
    ComparedTag,
    Coverage,
    EndpointStats,
    QuestionCost,
    Span,
    StyleComparison,
)

_BEGAN = 1767465000.0
_FOULS = (Span("Foul", 62.0, 71.5, 0.94), Span("Foul", 1805.0, 1812.0, 0.81))
_POINTS = tuple(
    Span("Basketball point", 40.0 + 171 * number, 46.0 + 171 * number, 0.9) for number in range(14)
)
_COST = QuestionCost(0.058, 0.13, 0.00039, 0.011)
_FINAL = ItemReport(
    kind=ItemKind.SCENE,
    id="12",
    title="Final, second half",
    path="/data/sport/final-2.mp4",
    duration_s=2460.0,
    outcome=Outcome.DONE,
    spans={"Foul": _FOULS, "Basketball point": _POINTS},
    coverage=Coverage(asked=361, answered=358, failed=3, calls=240, unreadable=3, seconds=86.4),
    gaps_s=((1300.0, 1345.0),),
    change=ItemChange(
        tags_added=("Basketball point", "Foul"),
        tags_removed=("Turnover",),
        markers_added=tuple(
            MarkerChange(span.tag, span.start_s, span.end_s) for span in (_FOULS[1], *_POINTS[:9])
        ),
        markers_removed=(MarkerChange("Turnover", 700.0, 712.0), MarkerChange("Turnover", 1820.0)),
        markers_kept=6,
        kept_back=('The marker "Break-away" at 12:31 stays: its title was changed since.',),
    ),
    seconds=95.0,
)
_TRAINING = ItemReport(
    kind=ItemKind.SCENE,
    id="13",
    title="",
    path="/data/sport/training.mp4",
    duration_s=600.0,
    outcome=Outcome.FAILED,
    error="/data/sport/training.mp4: there is no such file here.",
)

EXAMPLE = RunReport(
    run_id=7,
    task="Tag Videos",
    started=_BEGAN,
    ended=_BEGAN + 97.0,
    end=End.FINISHED,
    end_line="1 scene tagged, 1 failed; 361 frames asked, 358 answered, 3 failed; 240 calls, "
    "86 model seconds (2.1 s per minute of video); 97 s.",
    scenes=(_FINAL, _TRAINING),
    endpoints={
        "gaming PC": EndpointStats(
            "working", 4, 0, 186, {}, 0, 0.8, 0.0, 98_000, 2_100, 58.1, _COST
        ),
        "old server": EndpointStats(
            "working", 1, 0, 54, {"TimedOutError": 2}, 0, 3.1, 0.0, 29_000, 650, 28.3
        ),
    },
    styles=(
        StyleComparison(
            "vlm",
            "small pictures",
            "full size",
            "full size",
            (ComparedTag("Foul", 96, 6, 15), ComparedTag("Basketball point", 96, 31, 32)),
        ),
    ),
)

_GAMING_PC = (
    ok("reachable", "llama.cpp, and offers qwen3-vl-8b-instruct"),
    ok("API key", "accepted"),
    ok("model", "qwen3-vl-8b-instruct", model="qwen3-vl-8b-instruct"),
    ok("test pictures", "sound: 9 of 9 answers about large shapes were exactly right", cards=9),
    note(
        "requests at once",
        "4, as max_concurrent says; 4 at once bring 1.0 times the answers of one at a time, so 1"
        " would do",
        slots=4,
        declared=None,
        gain=1.02,
    ),
)
_OLD_SERVER = (
    ok("reachable", "it answers, and offers vlm"),
    wrong(
        "test pictures",
        "blind: its answers do not depend on the picture; load a model that sees, with its vision"
        " part (mmproj), and check that nothing in between drops pictures",
        cards=6,
    ),
)
_MACHINE = (
    ok("decoding", "a small video was made and read back"),
    note(
        "disk", "0.8 GB free on the disk of /data/haven; that may be too little for a large queue"
    ),
)
CHECK = RunReport(
    run_id=0,
    task="Check Set-up",
    started=_BEGAN + 600.0,
    ended=_BEGAN + 621.0,
    end=End.FINISHED,
    end_line="1 of 2 endpoints works; 21 s.",
    checks=(
        Section(SectionKind.ENDPOINT, "gaming PC (http://10.0.0.2:8080/v1)", _GAMING_PC),
        Section(SectionKind.ENDPOINT, "old server (http://10.0.0.3:1234/v1)", _OLD_SERVER),
        Section(SectionKind.MACHINE, "This machine", _MACHINE),
    ),
)


def excerpt() -> str:
    """The beginning of the example's JSON file, as the docs show it: the first line, set out for
    reading.
    """
    first_line = to_json(EXAMPLE).partition("\n")[0]
    return (
        f"```json\n{json.dumps(json.loads(f'{first_line}]}}'), indent=2, ensure_ascii=False)}\n```"
    )


if __name__ == "__main__":
    for report in (EXAMPLE, CHECK):
        sys.stdout.write(f"{write_report(report, Path(sys.argv[1]))}\n")
