"""Guesses what the keys and values of a sample mean. Only safe guesses: a wrong unit is worse than none."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from headrace.contracts import units
from headrace.contracts.attributes import Role
from headrace.contracts.naming import snake

_DEVICE_KEYS = (
    "device_id", "deviceid", "device", "dev_id", "dev_eui", "deveui", "sensor_id", "sensorid", "sensor", "node_id",
    "node", "client_id", "serial", "serial_number", "mac", "uuid", "id", "name",
)  # fmt: skip
_SEQUENCE = {
    "seq", "sequence", "seq_no", "seqno", "seq_num", "sequence_number", "fcnt", "f_cnt", "frame_counter",
    "frame_count", "packet_counter",
}  # fmt: skip
_BOOT = {"boot", "boot_id", "bootid", "boot_count", "boots"}
# Whole numbers under these names count or name something; under any other they are measurements that lack a fraction.
_WHOLE = _SEQUENCE | _BOOT | {
    "count", "counter", "counts", "cnt", "id", "ids", "code", "codes", "flags", "port", "packets", "pulses", "restarts",
}  # fmt: skip
_DEEPEST_NAME = 2  # objects around the key that names a device
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}(?:[0-9A-Fa-f]{2}[:-]){0,2}[0-9A-Fa-f]{2}\Z")

# Last words of a name that leave no doubt about its unit.
_SUFFIX_UNITS = {
    "celsius": "Cel", "degc": "Cel", "deg_c": "Cel", "kelvin": "K", "hpa": "hPa", "kpa": "kPa", "mpa": "MPa",
    "mbar": "mbar", "bar": "bar", "volt": "V", "volts": "V", "mv": "mV", "amp": "A", "amps": "A", "ampere": "A",
    "watt": "W", "watts": "W", "kw": "kW", "wh": "W.h", "kwh": "kW.h", "hz": "Hz", "khz": "kHz", "rpm": "rpm",
    "mm_s": "mm/s",
    "m_s": "m/s", "m_s2": "m/s2", "mps2": "m/s2", "rad_s": "rad/s", "dps": "deg/s", "deg_s": "deg/s", "lux": "lx",
    "dbm": "dBm", "dba": "dB[A]", "ppm": "ppm", "ppb": "ppb", "ug_m3": "ug/m3", "ugm3": "ug/m3", "mg_m3": "mg/m3",
    "g_m3": "g/m3", "pct": "%", "percent": "%", "lpm": "L/min", "l_min": "L/min", "m3_h": "m3/h", "m3h": "m3/h",
    "l_h": "L/h", "mg_l": "mg/L", "us_cm": "uS/cm", "ohm": "Ohm", "ohms": "Ohm", "kg": "kg", "km_h": "km/h",
    "kmh": "km/h", "w_m2": "W/m2", "mm": "mm", "cm": "cm", "mm_h": "mm/h", "sec": "s", "secs": "s",
    "seconds": "s", "minutes": "min", "hours": "h",
}  # fmt: skip
# Whole names that have the same unit everywhere in the world.
_NAME_UNITS = {
    "co2": "ppm",
    "eco2": "ppm",
    "pm1": "ug/m3",
    "pm2_5": "ug/m3",
    "pm25": "ug/m3",
    "pm10": "ug/m3",
}
_IN_BRACKETS = re.compile(r"[(\[]\s*([^()\[\]]{1,12}?)\s*[)\]]\s*\Z")  # temp(°C), pressure [hPa]
_TEMPERATURE = re.compile(r"(?:^|_)(?:temp|temperature|t)(?:_.*)?_c$|(?:^|_)temp_c\d*(?:_|$)|(?:^|_)tempc$")
_VOLTS = re.compile(r"_V$|(?i:bat|batt|battery|supply)V$")  # capitals count: battery_V, BatV


def device_key(columns: dict[str, list[object]]) -> str | None:
    """The key that most likely names the device."""
    likely = sorted((_DEVICE_KEYS.index(snake(k)), k) for k in columns if snake(k) in _DEVICE_KEYS)
    texts = [k for _, k in likely if all(isinstance(v, str) for v in columns[k])]
    return texts[0] if texts else None


def device_paths(readings: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Where each reading names its device, behind a gateway: a path, or those of its parts; none where nothing does."""
    if all("model" in r and "id" in r and not is_mac(r["id"]) for r in readings):  # rtl_433: unique in its model
        return ("model", *(("channel",) if any("channel" in r for r in readings) else ()), "id")
    found = [
        (depth, _DEVICE_KEYS.index(plain), path)
        for path, key, depth in _keys(readings[0], "", 0)
        if (plain := snake(key)) in _DEVICE_KEYS and all(_names(r, path) for r in readings)
    ]
    return (min(found)[2],) if found else ()


def _keys(reading: dict[str, Any], above: str, depth: int) -> Iterator[tuple[str, str, int]]:
    for key, value in reading.items():
        path = f"{above}{key}"
        if not key or set(".[]") & set(key):
            continue
        if isinstance(value, dict) and depth < _DEEPEST_NAME:
            yield from _keys(value, f"{path}.", depth + 1)
        else:
            yield path, key, depth


def _names(reading: dict[str, Any], path: str) -> bool:
    found: Any = reading
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return (isinstance(found, str) and found != "") or type(found) is int


def role(name: str) -> Role | None:
    """The role that a field of this name plays, if its values fit."""
    plain = snake(name)
    return "sequence" if plain in _SEQUENCE else "boot" if plain in _BOOT else None


def is_whole(name: str) -> bool:
    """Whether whole numbers under this name count or name something, rather than measure."""
    return snake(name).rpartition("_")[2] in _WHOLE or snake(name) in _WHOLE


def is_mac(text: object) -> bool:
    """Whether this is the address of a device: 6 or 8 bytes in hexadecimal, separated by colons or hyphens."""
    return isinstance(text, str) and _MAC.match(text) is not None


def unit(name: str, values: Sequence[object]) -> str | None:
    """The unit that a name leaves no doubt about; None when two are possible."""
    written = _IN_BRACKETS.search(name)
    if written is not None and (known := units.known(written[1])) is not None:
        return known
    if _VOLTS.search(name):
        return "V"
    for plain in (snake(name), re.sub(r"[^a-z0-9]+", "_", name.lower())):  # pressureHpa, pressure_hPa
        found = _unit(plain)
        if found is not None:
            return found
    numbers = [v for v in values if isinstance(v, int | float)]
    if snake(name).rpartition("_")[2] == "rssi":  # for some a percentage, or decibels below the receiver's full scale
        return "dBm" if numbers and min(numbers) >= -150 and max(numbers) < -20 else None
    is_humidity = snake(name).rpartition("_")[2] in {"humidity", "hum", "rh"}
    return "%" if is_humidity and numbers and 1 < max(numbers) <= 100 and min(numbers) >= 0 else None


def _unit(plain: str) -> str | None:
    parts = plain.split("_")
    if plain in _NAME_UNITS:
        return _NAME_UNITS[plain]
    if _TEMPERATURE.search(plain):
        return "Cel"
    endings = ("_".join(parts[-n:]) for n in (2, 1) if len(parts) >= n)
    return next((_SUFFIX_UNITS[e] for e in endings if e in _SUFFIX_UNITS), None)
