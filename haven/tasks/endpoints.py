"""What the endpoints did, in lines that a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vlm_engine import EndpointStats

Stats = Mapping[str, EndpointStats]
_WORKING = "working"


def interim_line(before: Stats, now: Stats, seconds: float) -> str | None:
    """What each endpoint did in the last ``seconds``, in one line; None where nothing was asked of any."""
    if before == now and not any(own.in_flight for own in now.values()):
        return None
    return "Endpoints: " + "; ".join(
        _interim(name, before.get(name), own, seconds) for name, own in now.items()
    )


def _interim(name: str, before: EndpointStats | None, own: EndpointStats, seconds: float) -> str:
    served = own.served - (before.served if before else 0)
    failed = sum(own.failed.values()) - (sum(before.failed.values()) if before else 0)
    parts = [f"{name} {60 * served / seconds:.0f} a minute"]
    parts += [f"{own.seconds:.1f} s each"] if own.seconds is not None else []
    parts += [f"{own.in_flight} of {own.slots} under way"]
    parts += [f"{failed} failed"] if failed else []
    parts += [own.state] if own.state != _WORKING else []
    return ", ".join(parts)


def summary_lines(stats: Stats, seconds: float) -> Iterator[str]:
    """What each endpoint did in a task that took ``seconds``: a line for each, where anything was asked of any."""
    answers = sum(own.served for own in stats.values())
    if not answers and not any(own.failed for own in stats.values()):
        return
    yield f"Endpoints: {answers:,} answers, {60 * answers / max(seconds, 1e-3):.0f} a minute."
    for name, own in stats.items():
        yield f"Endpoint {name}: {_summary(own, answers)}."


def _summary(own: EndpointStats, answers: int) -> str:
    parts = [f"{own.served:,} answers ({own.served / max(1, answers):.0%})"]
    parts += [f"{own.seconds:.1f} s each"] if own.seconds is not None else []
    parts += (
        [f"{own.prompt_tokens:,} tokens read and {own.answer_tokens:,} written"]
        if own.prompt_tokens
        else []
    )
    parts += [f"{own.copies:,} of its questions asked of another before"] if own.copies else []
    parts += (
        [f"failed: {', '.join(f'{count} {kind}' for kind, count in own.failed.items())}"]
        if own.failed
        else []
    )
    parts += [f"not working for {own.down_s:.0f} s"] if own.down_s >= 1 else []
    return "; ".join(parts)
