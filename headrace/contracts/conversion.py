"""From a unit that a payload has to the one that the contract has: factors that are exact by definition.

SI (https://www.bipm.org/en/publications/si-brochure), standard gravity 9.80665 m/s2, the international inch and pound.
"""

import math
from collections.abc import Callable, Iterator

from headrace.contracts import units
from headrace.contracts.model import Field

Convert = Callable[[float], float]

# unit: (what it measures, a, b, c): (value * a + b) / c is in the first unit of its kind.
_TABLE: dict[str, tuple[str, float, float, float]] = {
    "m/s2": ("acceleration", 1, 0, 1), "g0": ("acceleration", 196_133, 0, 20_000),
    "mg0": ("acceleration", 196_133, 0, 20_000_000), "[ft_i]/s2": ("acceleration", 381, 0, 1_250),
    "rad": ("angle", 1, 0, 1), "deg": ("angle", math.pi, 0, 180),
    "rad/s": ("angular velocity", 1, 0, 1), "deg/s": ("angular velocity", math.pi, 0, 180),
    "mdeg/s": ("angular velocity", math.pi, 0, 180_000), "rpm": ("angular velocity", math.pi, 0, 30),
    "Cel": ("temperature", 1, 0, 1), "[degF]": ("temperature", 5, -160, 9), "K": ("temperature", 100, -27_315, 100),
    "Pa": ("pressure", 1, 0, 1), "hPa": ("pressure", 100, 0, 1), "mbar": ("pressure", 100, 0, 1),
    "kPa": ("pressure", 1_000, 0, 1), "bar": ("pressure", 100_000, 0, 1), "MPa": ("pressure", 1_000_000, 0, 1),
    "mm[Hg]": ("pressure", 133_322_387_415, 0, 1_000_000_000), "[in_i'Hg]": ("pressure", 3_386_389, 0, 1_000),
    "[psi]": ("pressure", 44_482_216_152_605, 0, 6_451_600_000),
    "m/s": ("speed", 1, 0, 1), "km/h": ("speed", 5, 0, 18), "mm/s": ("speed", 1, 0, 1_000),
    "[mi_i]/h": ("speed", 1_397, 0, 3_125), "[kn_i]": ("speed", 463, 0, 900),
    "m": ("length", 1, 0, 1), "km": ("length", 1_000, 0, 1), "cm": ("length", 1, 0, 100), "mm": ("length", 1, 0, 1_000),
    "um": ("length", 1, 0, 1_000_000), "nm": ("length", 1, 0, 1_000_000_000), "[in_i]": ("length", 127, 0, 5_000),
    "[ft_i]": ("length", 381, 0, 1_250), "[mi_i]": ("length", 201_168, 0, 125),
    "V": ("voltage", 1, 0, 1), "mV": ("voltage", 1, 0, 1_000), "uV": ("voltage", 1, 0, 1_000_000),
    "kV": ("voltage", 1_000, 0, 1),
    "A": ("current", 1, 0, 1), "mA": ("current", 1, 0, 1_000), "uA": ("current", 1, 0, 1_000_000),
    "W": ("power", 1, 0, 1), "mW": ("power", 1, 0, 1_000), "kW": ("power", 1_000, 0, 1),
    "J": ("energy", 1, 0, 1), "kJ": ("energy", 1_000, 0, 1), "W.h": ("energy", 3_600, 0, 1),
    "kW.h": ("energy", 3_600_000, 0, 1), "W.min": ("energy", 60, 0, 1),
    "A.h": ("charge", 1, 0, 1), "mA.h": ("charge", 1, 0, 1_000),
    "Ohm": ("resistance", 1, 0, 1), "kOhm": ("resistance", 1_000, 0, 1),
    "uS/cm": ("conductivity", 1, 0, 1), "mS/cm": ("conductivity", 1_000, 0, 1),
    "T": ("magnetic flux density", 1, 0, 1), "mT": ("magnetic flux density", 1, 0, 1_000),
    "uT": ("magnetic flux density", 1, 0, 1_000_000), "nT": ("magnetic flux density", 1, 0, 1_000_000_000),
    "G": ("magnetic flux density", 1, 0, 10_000),
    "Hz": ("frequency", 1, 0, 1), "kHz": ("frequency", 1_000, 0, 1), "MHz": ("frequency", 1_000_000, 0, 1),
    "kg": ("mass", 1, 0, 1), "g": ("mass", 1, 0, 1_000), "mg": ("mass", 1, 0, 1_000_000), "t": ("mass", 1_000, 0, 1),
    "[lb_av]": ("mass", 45_359_237, 0, 100_000_000),
    "L": ("volume", 1, 0, 1), "mL": ("volume", 1, 0, 1_000), "m3": ("volume", 1_000, 0, 1),
    "L/min": ("volume flow", 1, 0, 1), "L/h": ("volume flow", 1, 0, 60), "m3/h": ("volume flow", 50, 0, 3),
    "m3/s": ("volume flow", 60_000, 0, 1),
    "1": ("ratio", 1, 0, 1), "%": ("ratio", 1, 0, 100), "ppm": ("ratio", 1, 0, 1_000_000),
    "ppb": ("ratio", 1, 0, 1_000_000_000),
    "s": ("time", 1, 0, 1), "ms": ("time", 1, 0, 1_000), "us": ("time", 1, 0, 1_000_000),
    "ns": ("time", 1, 0, 1_000_000_000), "min": ("time", 60, 0, 1), "h": ("time", 3_600, 0, 1),
    "d": ("time", 86_400, 0, 1),
    "ug/m3": ("concentration", 1, 0, 1), "ng/m3": ("concentration", 1, 0, 1_000),
    "mg/m3": ("concentration", 1_000, 0, 1),
    "g/m3": ("concentration", 1_000_000, 0, 1), "ug/L": ("concentration", 1_000, 0, 1),
    "mg/L": ("concentration", 1_000_000, 0, 1), "g/L": ("concentration", 1_000_000_000, 0, 1),
}  # fmt: skip
# What people write in payloads' units; a word may stand for several, and the contract's unit says for which.
_SPELLINGS: dict[str, tuple[str, ...]] = {
    "g": ("g", "g0"), "mg": ("mg", "mg0"), "g-force": ("g0",), "degf": ("[degF]",), "°f": ("[degF]",),
    "f": ("[degF]",), "fahrenheit": ("[degF]",), "mph": ("[mi_i]/h",), "kn": ("[kn_i]",), "knots": ("[kn_i]",),
    "in": ("[in_i]",), "ft": ("[ft_i]",), "mi": ("[mi_i]",), "psi": ("[psi]",), "inhg": ("[in_i'Hg]",),
    "lb": ("[lb_av]",), "gauss": ("G",), "mdps": ("mdeg/s",), "ft/s2": ("[ft_i]/s2",), "wmin": ("W.min",),
}  # fmt: skip


def convert(source: str, target: str) -> Convert | None:
    """The function from values in the unit `source` to values in `target`; None where there is none.

    Whole steps keep what they can: 68 degF is 20.0 Cel, 1 g is 9.80665 m/s2.
    """
    for one in _meant(source):
        if one in _TABLE and target in _TABLE and _TABLE[one][0] == _TABLE[target][0]:
            _, a, b, c = _TABLE[one]
            _, p, q, r = _TABLE[target]
            # (v * a + b) / c in the first unit; back: (w * r - q) / p
            up, add, down = a * r, b * r - q * c, c * p
            if isinstance(up, int) and isinstance(add, int) and isinstance(down, int):
                shared = math.gcd(up, add, down)
                up, add, down = up // shared, add // shared, down // shared
            return lambda v, up=up, add=add, down=down: (v * up + add) / down  # type: ignore[misc]
    return None


def _meant(unit: str) -> Iterator[str]:
    yield unit
    plain = unit.strip().lower()
    yield from _SPELLINGS.get(plain, ())
    if plain in units.SPELLINGS:
        yield units.SPELLINGS[plain]


def problems(field: Field, unit: str) -> Iterator[str]:
    """In words, why values in `unit` can't be converted to the field's."""
    kind = field.items or field.kind
    if kind not in {"double", "float"} or field.logical is not None:
        yield f"only doubles and floats are converted, and {field.name} is {field.logical or kind}. Leave the unit out"
    elif field.unit is None:
        yield f"the contract gives {field.name} no unit to convert to. Add it there"
    elif convert(unit, field.unit) is None:
        here = _TABLE.get(field.unit)
        same = [u for u, row in _TABLE.items() if here is not None and row[0] == here[0]]
        known = f". Known for it: {', '.join(same)}" if same else ""
        yield f"{unit!r} can't be converted to {field.unit}{known}"
