"""The units that contracts are written in: UCUM's symbols, as a person would type them, and what each measures.

https://ucum.org/ucum. A contract keeps one unit for each field: a device that sends another converts, or gets a field
of its own.
"""

import difflib

UNITS: dict[str, str] = {
    "1": "a plain number, a count or a ratio",
    "%": "a share of a hundred: relative humidity, battery charge",
    "[pH]": "acidity",
    # time and frequency
    "ns": "time", "us": "time", "ms": "time", "s": "time", "min": "time", "h": "time", "d": "time",
    "Hz": "frequency", "kHz": "frequency", "MHz": "frequency", "rpm": "rotational speed",
    # length, area, volume, angle
    "nm": "length", "um": "length", "mm": "length", "cm": "length", "m": "length", "km": "length",
    "m2": "area", "mL": "volume", "L": "volume", "m3": "volume",
    "rad": "angle", "deg": "angle",
    # motion
    "mm/s": "vibration velocity", "m/s": "speed", "km/h": "speed",
    "m/s2": "acceleration", "g0": "acceleration in standard gravities",
    "rad/s": "angular velocity", "deg/s": "angular velocity",
    # mass, force, pressure
    "mg": "mass", "g": "mass", "kg": "mass", "t": "mass",
    "N": "force", "kN": "force", "N.m": "torque",
    "Pa": "pressure", "hPa": "pressure", "kPa": "pressure", "MPa": "pressure", "mbar": "pressure", "bar": "pressure",
    # flow
    "L/min": "volume flow", "L/h": "volume flow", "m3/h": "volume flow", "m3/s": "volume flow", "kg/h": "mass flow",
    "kg/s": "mass flow",
    # heat and light
    "Cel": "temperature in degrees Celsius", "K": "temperature",
    "lx": "illuminance", "lm": "luminous flux", "cd": "luminous intensity", "W/m2": "irradiance",
    # electricity and magnetism
    "uV": "voltage", "mV": "voltage", "V": "voltage", "kV": "voltage",
    "uA": "current", "mA": "current", "A": "current", "mA.h": "charge", "A.h": "charge",
    "mW": "power", "W": "power", "kW": "power", "V.A": "apparent power", "var": "reactive power",
    "J": "energy", "kJ": "energy", "W.h": "energy", "kW.h": "energy",
    "Ohm": "resistance", "kOhm": "resistance", "uF": "capacitance", "uS/cm": "conductivity", "mS/cm": "conductivity",
    "nT": "magnetic flux density", "uT": "magnetic flux density", "mT": "magnetic flux density",
    "T": "magnetic flux density",
    # air and water
    "ppm": "parts per million", "ppb": "parts per billion",
    "ng/m3": "concentration", "ug/m3": "concentration", "mg/m3": "concentration", "g/m3": "concentration",
    "ug/L": "concentration", "mg/L": "concentration", "g/L": "concentration",
    "mm/h": "rain rate", "[NTU]": "turbidity", "/cm3": "number concentration",
    # sound, radio, radiation, bodies, data
    "dB": "level", "dB[A]": "sound level, A-weighted", "dBm": "radio signal strength",
    "uSv/h": "dose rate", "Bq/m3": "radioactivity", "/min": "a rate, such as heart beats", "mm[Hg]": "blood pressure",
    "bit/s": "data rate", "By": "data size", "kBy": "data size",
}  # fmt: skip

# What people write, and the symbol meant.
SPELLINGS = {
    "degc": "Cel", "°c": "Cel", "℃": "Cel", "celsius": "Cel", "c": "Cel", "deg c": "Cel", "kelvin": "K",
    "m/s^2": "m/s2", "m/s²": "m/s2", "m/s/s": "m/s2", "ms-2": "m/s2", "m s-2": "m/s2", "m.s-2": "m/s2",
    "dps": "deg/s", "°/s": "deg/s", "°": "deg", "degree": "deg", "degrees": "deg",
    "g's": "g0", "gee": "g0", "µt": "uT", "μt": "uT", "microtesla": "uT",
    "µg/m3": "ug/m3", "μg/m3": "ug/m3", "µg/m³": "ug/m3", "ug/m³": "ug/m3", "ug/m^3": "ug/m3", "mg/m^3": "mg/m3",
    "percent": "%", "pct": "%", "%rh": "%", "rh": "%", "lux": "lx", "decibel": "dB", "dba": "dB[A]", "db(a)": "dB[A]",
    "volt": "V", "volts": "V", "amp": "A", "amps": "A", "ampere": "A", "watt": "W", "watts": "W",
    "kwh": "kW.h", "wh": "W.h", "mah": "mA.h", "ah": "A.h", "n*m": "N.m", "va": "V.A",
    "ohms": "Ohm", "ω": "Ohm", "hertz": "Hz", "sec": "s", "second": "s", "seconds": "s", "msec": "ms", "µs": "us",
    "minutes": "min", "hours": "h", "days": "d", "l": "L", "liter": "L", "litre": "L", "l/min": "L/min", "lpm": "L/min",
    "l/h": "L/h", "m³/h": "m3/h", "m³": "m3", "m²": "m2", "kmh": "km/h", "kph": "km/h", "bpm": "/min", "mmhg": "mm[Hg]",
    "ph": "[pH]", "count": "1", "counts": "1", "none": "1", "": "1", "µm": "um", "micron": "um", "byte": "By",
    "bytes": "By", "w/m²": "W/m2", "w/m^2": "W/m2", "millibar": "mbar", "ntu": "[NTU]",
}  # fmt: skip


def problem(unit: str) -> str | None:
    """What is wrong with `unit`, with the closest known ones; None when it is known."""
    if unit in UNITS:
        return None
    near = closest(unit)
    hint = f"did you mean {near} ({UNITS[near]})?" if near else "docs/contract-reference.md lists the known ones"
    return f"the unit {unit!r:.40} is not known; {hint}"


def known(text: str) -> str | None:
    """The unit that `text` is, as its symbol or in a usual spelling; None when it is none."""
    plain = text.strip()
    return plain if plain in UNITS else SPELLINGS.get(plain.lower()) if plain else None


def closest(unit: str) -> str | None:
    """The known unit that `unit` most likely stands for."""
    plain = unit.strip().lower()
    if plain in SPELLINGS:
        return SPELLINGS[plain]
    by_lower = {u.lower(): u for u in reversed(UNITS)}
    near = difflib.get_close_matches(plain[:40], by_lower, n=1, cutoff=0.5)
    return by_lower[near[0]] if near else None
