"""What a cell of text looks like: a number, a time, a unit, no value. For guesses at a file's first lines only."""

import re
from collections.abc import Sequence

NO_VALUE = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "missing", "inf", "-inf"})
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,'\u2019 \u00a0\u202f]\d+)*[.,]?|[.,]\d+)(?:[eE][+-]?\d+)?\s*%?")
_WORDS = re.compile(
    r"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b\.?"
    r"|\b(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\b\.?"
    r"|(?<=\d)\s*(?:am|pm|a\.m\.|p\.m\.|z|utc|gmt|cet|cest|[ecmp][sd]t)\b|(?<=\d)t(?=\d)|\b(?:utc|gmt)\b",
    re.IGNORECASE,
)
_TIME = re.compile(r"[\s:/.,+\-]*\d+(?:[\s:/.,+\-]+\d+)+[\s:/.,+\-]*")
_UNITS = """
m s g k c f v a n w j h l t b bar pa hz rad deg degc degf degk °c °f ° º ºc ℃ ℉ % ppm ppb ppt lux lx db dba dbm
nm nms min mins sec secs second seconds hour hours hr hrs day days d ms us µs μs ns rpm bpm brpm mol ohm ohms ω
va var wh kwh mmhg inhg psi atm mph kph kmh knots kn kt dps gauss g_n count counts lsb px pixel pixels celsius
fahrenheit kelvin volt volts amp amps watt watts tesla newton pascal percent rh %rh no_units unitless u unix
epoch iso8601 datetime cd lm in ft yd mi gal lb lbs oz ts rn siemens e kg cm mm km dm ml dl cl ug µg μg mg grad
rev cycles steps bit bits byte bytes mw kw mwh gw mv kv uv µv μv ma ua µa μa ut µt μt mt nt hpa kpa mpa mbar khz
mhz ghz kohm mohm kω mω ev kev mev degrees degree radian radians meter meters metre metres gram grams mm_hg
celcius
"""
_BASE = frozenset(_UNITS.split())
_TOKEN = re.compile(r"[/*·\u00d7.^\s()²³⁻¹₂]+|(?<=[a-zµμω°%])-?\d+|\*\*")
_BRACKETS = re.compile(r"\[([^\[\]]{1,20})\]|\(((?:[^()]|\([^()]*\)){1,20})\)|\{([^{}]{1,20})\}")
_COMMA = re.compile(r",\s*([^,()]{1,12}?)\s*(?:\(|$)")


def is_number(cell: str) -> bool:
    """Whether it is a number as somebody in the world writes it."""
    return _NUMBER.fullmatch(cell) is not None


def is_typed(cell: str) -> bool:
    """Whether it is a number or a time, and so no name of a column."""
    if not any("0" <= it <= "9" for it in cell) or len(cell) > 48:
        return False
    return is_number(cell) or _TIME.fullmatch(_WORDS.sub(" ", cell)) is not None


def has_no_value(cell: str) -> bool:
    """Whether it is empty, or a word that stands where a value is missing."""
    return cell.strip().lower() in NO_VALUE


def is_unit(word: str) -> bool:
    """Whether it is a unit: of units that are known, with powers and fractions."""
    word = word.strip().strip("[](){}").strip()
    tokens = [it for it in _TOKEN.split(word.lower()) if it]
    return any(it in _BASE for it in tokens) and all(it in _BASE or it.isdigit() for it in tokens)


def is_unit_row(cells: Sequence[str]) -> bool:
    """Whether most of what stands in the row are units."""
    given = [it for it in cells if it.strip()]
    return bool(given) and sum(is_unit(it) or it.strip() in {"-", "--", "[-]"} for it in given) > 0.5 * len(given)


def unit_of(name: str) -> str:
    """The unit within a column's name: "Temp (°C)", "acc_x [m/s2]", "temperature/degC", "Temp, °C"; else ""."""
    for square, *others in reversed(_BRACKETS.findall(name)):
        if square.strip() and not is_typed(square):
            return str(square.strip())
        for it in others:
            if it and is_unit(it):
                return str(it.strip())
    for word in (*_COMMA.findall(name), *([name.split("/", 1)[1]] if "/" in name.strip("/") else [])):
        if is_unit(word):
            return str(word).strip()
    return ""
