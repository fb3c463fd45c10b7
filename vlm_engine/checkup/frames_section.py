"""The comparison of styles on a user's frames, as a section of a check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from vlm_engine.checkup.agreement import (
    LEAST_TAG_SEEN,
    Fit,
    FrameComparison,
    StyleFigures,
    mcnemar,
    seen_by_reference,
)
from vlm_engine.checkup.values import Finding, Section, SectionKind, note, ok, wrong
from vlm_engine.types import Form, QuestionStyle

_FORMS = {Form.LIST: "lists", Form.NAMES: "bare names", Form.VERDICTS: "verdicts"}
Names: TypeAlias = Mapping[QuestionStyle, str]
_MOST_NAMED = 3
_CAUTION = "Agreement is not accuracy: both may err, and nobody has said what the frames show"


def frames_section(comparison: FrameComparison) -> Section:
    """Return what the comparison found, for one model."""
    title = f"Frames of your videos, asked of {comparison.model or 'the model'}"
    return Section(SectionKind.FRAMES, title, tuple(_findings(comparison)))


def _findings(comparison: FrameComparison) -> Iterator[Finding]:
    yield _frames(comparison)
    if comparison.skipped:
        yield note("skipped", _some(comparison.skipped), skipped=len(comparison.skipped))
    if comparison.failures:
        yield note("failed questions", _some(comparison.failures), kinds=len(comparison.failures))
    if not comparison.reference.frames:
        return
    names = _names(comparison)
    yield _reference(comparison, names)
    fits = comparison.fits
    for figures in comparison.others:
        yield _style(figures, fits[figures.style], comparison, names)
    yield from _tags(comparison, names)
    yield _proposal(comparison, names)


def _frames(comparison: FrameComparison) -> Finding:
    styles = (comparison.reference, *comparison.others)
    questions = sum(figures.questions for figures in styles)
    text = (
        f"{comparison.frames} of {comparison.videos} videos, in {len(styles)} styles of question;"
        f" {questions} questions were asked now, the others before"
    )
    counts = {
        "frames": comparison.frames,
        "videos": comparison.videos,
        "questions": questions,
    }
    if not comparison.frames:
        return wrong("frames", "none of the videos could be read", **counts)
    if not comparison.reference.frames:
        reference = _names(comparison)[comparison.reference.style]
        without = f"none was answered in {reference}, so there is nothing to compare with"
        return wrong("frames", f"{text}; {without}", **counts)
    return ok("frames", text, **counts)


def _reference(comparison: FrameComparison, names: Names) -> Finding:
    figures = comparison.reference
    estimated = "" if comparison.is_measured else " (seconds are estimated: too few were measured)"
    return ok(
        names[figures.style],
        f"the reference: {_cost(figures)}; {figures.both} sightings on {figures.frames}"
        f" frames{estimated}",
        **_figures(figures, comparison),
    )


def _style(figures: StyleFigures, fit: Fit, comparison: FrameComparison, names: Names) -> Finding:
    share, low, high = figures.agreement()
    blind = f" {', '.join(figures.blind_tags())}" if fit is Fit.BLIND else ""
    text = (
        f"{_cost(figures)}; of {figures.sightings} sightings {figures.both} agree"
        f" ({share:.0%}, {low:.0%} to {high:.0%}), {figures.missed} are missed and"
        f" {figures.added} added (p = {mcnemar(figures.missed, figures.added):.2f}): {fit.value}"
        f"{blind}"
    )
    finding = ok if fit is Fit.AGREES else note
    return finding(
        names[figures.style], text, **_figures(figures, comparison), fit=fit.name.lower()
    )


def _figures(
    figures: StyleFigures, comparison: FrameComparison
) -> dict[str, float | str | bool | None]:
    share, low, high = figures.agreement()
    return {
        "frame_size": "small" if figures.small else "full",
        "answer_form": str(figures.style.form),
        "frames": figures.frames,
        "questions": figures.questions,
        "seconds": round(figures.seconds, 4),
        "is_measured": comparison.is_measured,
        "prompt_tokens": round(figures.prompt_tokens, 1) if figures.questions else None,
        "answer_tokens": round(figures.answer_tokens, 1) if figures.questions else None,
        "sightings": figures.sightings,
        "both": figures.both,
        "missed": figures.missed,
        "added": figures.added,
        "agreement": round(share, 4),
        "agreement_low": round(low, 4),
        "agreement_high": round(high, 4),
        "p": round(mcnemar(figures.missed, figures.added), 4),
    }


def _tags(comparison: FrameComparison, names: Names) -> Iterator[Finding]:
    """Yield a finding for each tag that the reference saw often enough, with what others missed."""
    for tag, counts in comparison.reference.tags.items():
        if counts.both < LEAST_TAG_SEEN:
            continue
        missed = {
            names[figures.style]: (of_tag.only_other, seen_by_reference(of_tag))
            for figures in comparison.others
            if (of_tag := figures.tags.get(tag)) and seen_by_reference(of_tag) >= LEAST_TAG_SEEN
        }
        listed = [f"{name} {some} of {seen}" for name, (some, seen) in missed.items() if some]
        is_hidden = any(tag in figures.blind_tags() for figures in comparison.others)
        yield (note if is_hidden else ok)(
            f"tag {tag}",
            f"seen on {counts.both} frames; missed in {', '.join(listed) or 'no other style'}",
            seen=counts.both,
            **{f"missed in {name}": some for name, (some, _) in missed.items()},
        )


def _proposal(comparison: FrameComparison, names: Names) -> Finding:
    proposal, settings = comparison.proposal, dict(comparison.settings)
    if proposal is None:
        needed = comparison.frames_needed
        more = (
            f"ask about more frames, about {needed}" if needed else "choose videos that show some"
        )
        return note(
            "proposal",
            f"none: the frames show too few of the tags to compare the styles; {more}",
            frames_needed=needed,
        )
    written = " and ".join(
        f"{name.upper()}: {value} ({name} of the model)" for name, value in settings.items()
    )
    if proposal is comparison.reference:
        text = f"{written}: no cheaper style agrees with it"
    else:
        times = comparison.reference.seconds / max(proposal.seconds, 1e-9)
        text = f"{written}: {times:.1f} times as fast as {names[comparison.reference.style]}"
    return ok("proposal", f"{text}. {_CAUTION}", **settings)


def _names(comparison: FrameComparison) -> Names:
    """Return each style in words; the size is left out where there is only one."""
    styles = (comparison.reference, *comparison.others)
    sizes = {figures.small for figures in styles}
    return {
        figures.style: _FORMS[figures.style.form]
        if len(sizes) == 1
        else f"{'small' if figures.small else 'full'} size, {_FORMS[figures.style.form]}"
        for figures in styles
    }


def _cost(figures: StyleFigures) -> str:
    tokens = (
        f", {figures.prompt_tokens:.0f} + {figures.answer_tokens:.0f} tokens"
        if figures.questions
        else ""
    )
    return f"{figures.seconds:.2g} s a question{tokens}"


def _some(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return "; ".join(texts[:_MOST_NAMED]) + more
