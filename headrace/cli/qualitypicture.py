"""What each rule did, drawn: a row for each rule, a column for each day, darker where more of the readings are met."""

import datetime as dt
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from headrace.cli.output import printable

_MAX_RULES, _MAX_DAYS = 40, 92  # of a stream: the rules that acted most, the latest days
_LEFT, _CELL, _ROW, _HEAD = 320, 22, 20, 46  # pixels
_FONT = "font-family='sans-serif' font-size='12'"

Days = Mapping[dt.date, tuple[int, int]]


def svg(streams: Mapping[str, Mapping[str, Days]]) -> str:
    """An SVG picture of what `headrace.lake.quality.by_day` gives."""
    parts: list[str] = []
    top, width = 10, 640
    for stream, rules in streams.items():
        days = sorted({day for found in rules.values() for day in found})[-_MAX_DAYS:]
        shown = dict(list(rules.items())[:_MAX_RULES])
        parts += _stream(stream, shown, days, top)
        top += _HEAD + _ROW * len(shown) + 24
        width = max(width, _LEFT + _CELL * len(days) + 120)
    if not parts:
        parts = [_text(10, 30, "No rule had anything to do, or nothing is stored yet.")]
        top = 50
    body = "\n".join(parts)
    size = f"width='{width}' height='{top}' viewBox='0 0 {width} {top}'"
    paper = "<rect width='100%' height='100%' fill='white'/>"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size}>\n{paper}\n{body}\n</svg>\n"


def _stream(stream: str, rules: Mapping[str, Days], days: list[dt.date], top: int) -> Iterator[str]:
    yield _text(10, top + 16, f"{stream}: share of each day's readings, {days[0]} to {days[-1]}", bold=True)
    for i, day in enumerate(days):
        if i == 0 or day.day == 1 or len(days) <= 10:
            yield _text(_LEFT + _CELL * i, top + 38, f"{day:%d.%m.}" if len(days) > 1 else str(day), size=9)
    for row, (label, found) in enumerate(rules.items()):
        y = top + _HEAD + _ROW * row
        yield _text(10, y + 14, label if len(label) <= 42 else label[:41] + "…")
        for i, day in enumerate(days):
            acted, readings = found.get(day, (0, 0))
            share = acted / max(readings, acted, 1)
            title = escape(printable(f"{label}, {day}: {acted:,} of {readings:,} readings, {share:.2%}"))
            yield (
                f"<rect x='{_LEFT + _CELL * i}' y='{y}' width='{_CELL - 2}' height='{_ROW - 2}' "
                f"fill='{_colour(share)}'><title>{title}</title></rect>"
            )
        total = sum(acted for acted, _ in found.values())
        yield _text(_LEFT + _CELL * len(days) + 6, y + 14, f"{total:,}")


def _colour(share: float) -> str:
    """From nearly white to dark red; a rare case is seen too."""
    if share <= 0:
        return "#f2f2f2"
    strength = 0.15 + 0.85 * min(share, 1.0) ** 0.4
    return "#" + "".join(f"{round(255 + (end - 255) * strength):02x}" for end in (140, 10, 20))


def _text(x: int, y: int, text: str, *, bold: bool = False, size: int = 0) -> str:
    more = (" font-weight='bold'" if bold else "") + (f" style='font-size:{size}px'" if size else "")
    return f"<text x='{x}' y='{y}' {_FONT}{more}>{escape(printable(text))}</text>"
