"""What each rule did, drawn: for each rule a line and under it a cell for each day, darker where more is met.

Narrow, and scaled to the window: a picture that is wide at a desk can't be read on a phone.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from headrace.cli.output import printable

_MAX_RULES, _MAX_DAYS = 40, 92  # of a stream: the rules that acted most, the latest days
_WIDTH, _MARGIN, _CELL = 480, 12, 22  # pixels; a cell is narrower where days are many
_ROW, _BAR, _HEAD = 38, 16, 44  # a rule, its cells, a stream's title and dates
_LONGEST = 46  # characters of a rule, beside its total
_TICK = 44  # pixels that the name of a day needs

# Shares below a limit have its colour, which tells apart also for those who see few colours, and in grey.
_NONE = "#eeeeee"
_SHARES = (
    (0.001, "#fdd49e", "< 0.1 %"), (0.01, "#fdbb84", "< 1 %"), (0.1, "#fc8d59", "< 10 %"), (0.5, "#d7301f", "< 50 %"),
    (2.0, "#7f0000", "more"),
)  # fmt: skip

Days = Mapping[dt.date, tuple[int, int]]


def svg(streams: Mapping[str, Mapping[str, Days]]) -> str:
    """An SVG picture of what `headrace.lake.quality.by_day` gives."""
    parts: list[str] = []
    top = _MARGIN
    if streams:
        parts += _legend(top)
        top += 58
    for stream, rules in streams.items():
        shown = dict(list(rules.items())[:_MAX_RULES])
        parts += _stream(stream, shown, len(rules) - len(shown), top)
        top += _HEAD + _ROW * len(shown) + (20 if len(rules) > len(shown) else 0) + 16
    if not parts:
        parts = [_text(_MARGIN, 30, "No rule had anything to do, or nothing is stored yet.")]
        top = 50
    body = "\n".join(parts)
    size = f"viewBox='0 0 {_WIDTH} {top}' preserveAspectRatio='xMidYMin meet'"
    style = f"style='display:block;margin:auto;width:100%;max-width:{_WIDTH * 3 // 2}px'"
    paper = "<rect width='100%' height='100%' fill='white'/>"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' font-family='sans-serif' {size} {style}>\n{paper}\n{body}\n</svg>\n"
    )


def _legend(top: int) -> Iterator[str]:
    yield _text(_MARGIN, top + 12, "Share of the day's readings that a rule acted on", bold=True)
    x = _MARGIN
    for colour, words in ((_NONE, "none"), *((colour, words) for _, colour, words in _SHARES)):
        yield f"<rect x='{x}' y='{top + 22}' width='14' height='14' fill='{colour}'/>"
        yield _text(x + 19, top + 33, words, size=11)
        x += 40 + 6 * len(words)


def _stream(stream: str, rules: Mapping[str, Days], more: int, top: int) -> Iterator[str]:
    acted = [day for found in rules.values() for day in found]
    first, last = max(min(acted), max(acted) - dt.timedelta(days=_MAX_DAYS - 1)), max(acted)
    days = [first + dt.timedelta(days=i) for i in range((last - first).days + 1)]
    cell = min(_CELL, (_WIDTH - 2 * _MARGIN) / len(days))
    yield _text(_MARGIN, top + 14, stream, bold=True)
    yield _text(_WIDTH - _MARGIN, top + 14, f"{first} to {last}" if first < last else f"{last}", end=True)
    for x, words in _ticks(days, cell):
        yield _text(x, top + 34, words, size=11)
    for row, (label, found) in enumerate(rules.items()):
        yield from _rule(label, found, days, cell, top + _HEAD + _ROW * row)
    if more:
        yield _text(_MARGIN, top + _HEAD + _ROW * len(rules) + 12, f"and {more:,} rules more, which acted less")


def _rule(label: str, found: Days, days: list[dt.date], cell: float, top: int) -> Iterator[str]:
    total = sum(acted for day, (acted, _) in found.items() if day >= days[0])
    short = label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
    yield _text(_MARGIN, top + 12, short, title=label)
    yield _text(_WIDTH - _MARGIN, top + 12, f"{total:,}", end=True)
    for i, day in enumerate(days):
        acted, readings = found.get(day, (0, 0))
        share = acted / max(readings, acted, 1)
        words = escape(printable(f"{label}, {day}: {acted:,} of {readings:,} readings, {share:.2%}"))
        title = words if acted else escape(printable(f"{label}, {day}: none"))
        yield (
            f"<rect x='{_MARGIN + cell * i:.2f}' y='{top + 17}' width='{cell * 0.92:.2f}' height='{_BAR}' "
            f"fill='{_colour(share)}'><title>{title}</title></rect>"
        )


def _ticks(days: list[dt.date], cell: float) -> Iterator[tuple[float, str]]:
    """Where names of days stand: at the first, and then at those that begin a month, or at all where there is room."""
    free = 0.0
    for i, day in enumerate(days):
        x = _MARGIN + cell * i
        if x >= free and x <= _WIDTH - _TICK and (i == 0 or day.day == 1 or len(days) <= 2 * _CELL):
            yield x, f"{day.day} {day:%b}"
            free = x + _TICK


def _colour(share: float) -> str:
    return _NONE if share <= 0 else next(colour for limit, colour, _ in _SHARES if share < limit)


def _text(
    x: float, y: int, text: str, *, bold: bool = False, size: int = 12, end: bool = False, title: str = ""
) -> str:
    more = (" font-weight='bold'" if bold else "") + (" text-anchor='end'" if end else "")
    hint = f"<title>{escape(printable(title))}</title>" if title else ""
    return f"<text x='{x:g}' y='{y}' font-size='{size}'{more}>{escape(printable(text))}{hint}</text>"
