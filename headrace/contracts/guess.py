"""Guesses what the keys and values of a sample mean. Only safe guesses: a wrong unit is worse than none."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.contracts import avro
from headrace.contracts.attributes import Role, TimeUnit
from headrace.protocol import provenance

# The years 2000 to 2100, in seconds. A number in this range, in one of the units, is taken as a time.
FIRST, LAST = 946_684_800, 4_102_444_800
_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

_TIME_KEYS = (
    "event_time", "timestamp", "ts", "time", "datetime", "measured_at", "recorded_at", "sampled_at", "observed_at",
    "created_at", "sent_at", "time_utc", "utc", "epoch", "unix_time", "unixtime", "t",
)  # fmt: skip
_TIME_SUFFIXES = ("", "_s", "_sec", "_ms", "_us", "_ns", "_millis", "_micros", "_nanos", "_utc")
_DEVICE_KEYS = (
    "device_id", "deviceid", "device", "dev_id", "dev_eui", "deveui", "sensor_id", "sensorid", "sensor", "node_id",
    "node", "client_id", "serial", "serial_number", "mac", "uuid", "id", "name",
)  # fmt: skip
_SEQUENCE = {"seq", "sequence", "seq_no", "seqno", "seq_num", "sequence_number", "fcnt", "frame_counter"}
_BOOT = {"boot", "boot_id", "bootid", "boot_count", "boots"}
# Whole numbers under these names count or name something; under any other they are measurements that lack a fraction.
_WHOLE = _SEQUENCE | _BOOT | {
    "count", "counter", "counts", "cnt", "total", "id", "code", "status", "state", "error", "errors", "flags", "mode",
    "version", "step", "index", "number", "num", "uptime", "cycles", "pulses", "revision",
}  # fmt: skip

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
    "kmh": "km/h", "w_m2": "W/m2", "mm": "mm", "cm": "cm",
}  # fmt: skip
# Whole names that have the same unit everywhere in the world.
_NAME_UNITS = {
    "rssi": "dBm",
    "co2": "ppm",
    "eco2": "ppm",
    "pm1": "ug/m3",
    "pm2_5": "ug/m3",
    "pm25": "ug/m3",
    "pm10": "ug/m3",
}
_TEMPERATURE = re.compile(r"(?:^|_)(?:temp|temperature|t)(?:_.*)?_c$")


@dataclass(frozen=True)
class Time:
    """How the times under a key are written. `unit` is None when all are text."""

    unit: TimeUnit | None
    zoned: bool  # every text names its zone


def snake(key: str) -> str:
    """`key` in small letters with underscores: "motorTempC" and "Motor Temp-C" give "motor_temp_c"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def field_name(key: str, taken: Sequence[str], keys: Iterable[str] = ()) -> str:
    """A legal field name for a JSON key: the key itself if it is legal and not `taken`, else the closest one.

    The closest one is also different from the payload's other `keys`.
    """
    reserved = {*provenance.RESERVED, *(t.lower() for t in taken)}
    if avro.is_name(key) and not key.startswith("_") and key.lower() not in reserved:
        return key
    reserved |= {k.lower() for k in keys}
    plain = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:100] or "field"
    if name[0].isdigit():
        name = f"n_{name}"
    candidate, n = name, 2
    while candidate.lower() in reserved:
        candidate, n = f"{name}_{n}", n + 1
    return candidate


def time_key(columns: dict[str, list[object]]) -> tuple[str, Time] | None:
    """The key whose values are most likely the event time, and how they are written."""
    order = {f"{k}{suffix}": i for i, k in enumerate(_TIME_KEYS) for suffix in _TIME_SUFFIXES}
    likely = sorted((order[snake(key)], key) for key in columns if snake(key) in order)
    for _, key in likely:
        time = _time(columns[key])
        if time is not None:
            return key, time
    return None


def device_key(columns: dict[str, list[object]]) -> str | None:
    """The key that most likely names the device."""
    likely = sorted((_DEVICE_KEYS.index(snake(k)), k) for k in columns if snake(k) in _DEVICE_KEYS)
    texts = [k for _, k in likely if all(isinstance(v, str) for v in columns[k])]
    return texts[0] if texts else None


def role(name: str) -> Role | None:
    """The role that a field of this name plays, if its values fit."""
    plain = snake(name)
    return "sequence" if plain in _SEQUENCE else "boot" if plain in _BOOT else None


def is_whole(name: str) -> bool:
    """Whether whole numbers under this name count or name something, rather than measure."""
    return snake(name).rpartition("_")[2] in _WHOLE or snake(name) in _WHOLE


def unit(name: str, values: Sequence[object]) -> str | None:
    """The unit that a name leaves no doubt about; None when two are possible."""
    for plain in (snake(name), re.sub(r"[^a-z0-9]+", "_", name.lower())):  # pressureHpa, pressure_hPa
        found = _unit(plain)
        if found is not None:
            return found
    numbers = [v for v in values if isinstance(v, int | float)]
    if (
        snake(name).rpartition("_")[2] in {"humidity", "rh"}
        and numbers
        and 1 < max(numbers) <= 100
        and min(numbers) >= 0
    ):
        return "%"
    return None


def _unit(plain: str) -> str | None:
    if plain in _NAME_UNITS:
        return _NAME_UNITS[plain]
    if _TEMPERATURE.search(plain):
        return "Cel"
    parts = plain.split("_")
    endings = ("_".join(parts[-n:]) for n in (2, 1) if len(parts) >= n)
    return next((_SUFFIX_UNITS[e] for e in endings if e in _SUFFIX_UNITS), None)


def _time(values: Sequence[object]) -> Time | None:
    units: set[TimeUnit] = set()
    zoned = True
    for v in values:
        if isinstance(v, str):
            when = _iso(v)
            if when is None:
                return None
            zoned = zoned and when.tzinfo is not None
        elif isinstance(v, int | float) and not isinstance(v, bool):
            fitting = [u for u, per in _PER_SECOND.items() if FIRST <= v / per <= LAST]
            if not fitting:
                return None
            units.add(fitting[0])
        else:
            return None
    return Time(units.pop() if units else None, zoned) if len(units) <= 1 and values else None


def _iso(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    try:
        return when if FIRST <= aware.timestamp() <= LAST else None
    except (OverflowError, ValueError):
        return None
