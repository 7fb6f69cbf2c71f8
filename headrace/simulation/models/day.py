"""A room in an office through the day: the sun warms it, people fill it, the windows air it."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_DAY_SECONDS = 86_400.0
_OUTSIDE_CO2 = 420.0  # ppm
_PERSON = 0.0052  # l/s of CO2 that one person at a desk breathes out (EN 16798-1)
_ROOM_LITRES = 150_000.0
_AIRING = 1 / 3600.0  # room volumes a second


def day(rng: "np.random.Generator", start_s: float, interval_s: float) -> Iterator[dict[str, Any]]:
    """Readings of the environment contract every `interval_s` seconds from `start_s` (seconds since 1970 UTC).

    Temperature lags the sun by two hours. Water in the air is nearly constant, so relative humidity falls as the room
    warms (Magnus formula). CO2 is a balance of breath and airing.
    """
    mean, range_, water = rng.uniform(20, 23), rng.uniform(1.5, 3.5), rng.uniform(7, 10)  # Cel, K, g/m3
    level, pressure, people_most = rng.uniform(430, 520), rng.uniform(1005, 1025), int(rng.integers(2, 8))
    dust, number = rng.uniform(4, 12), 0
    while True:
        now = start_s + number * interval_s
        hour = now % _DAY_SECONDS / 3600
        warmth = mean + range_ * math.sin(2 * math.pi * (hour - 9) / 24) + float(rng.normal(0, 0.05))
        saturation = 6.112 * math.exp(17.62 * warmth / (243.12 + warmth))  # hPa
        humidity = 100 * water * (warmth + 273.15) / 216.68 / saturation + float(rng.normal(0, 0.2))
        working = max(0.0, math.sin(math.pi * (hour - 8) / 10)) if 8 <= hour <= 18 else 0.0
        # The exact solution over one interval, so that a long interval does not overshoot.
        steady = _OUTSIDE_CO2 + people_most * working * _PERSON / (_ROOM_LITRES * _AIRING) * 1e6
        level = steady + (level - steady) * math.exp(-_AIRING * interval_s)
        pressure += float(rng.normal(0, 0.02)) - 0.002 * (pressure - 1013.25)
        dust = max(0.5, dust + float(rng.normal(0, 0.2)) - 0.02 * (dust - 8 - 6 * working))
        yield {
            "temperature": round(warmth, 2),
            "humidity": round(min(max(humidity, 0.0), 100.0), 2),
            "pressure": round(pressure, 2),
            "co2": round(level + float(rng.normal(0, 5)), 1),
            "pm2_5": round(dust, 2),
            "pm10": round(dust * 1.6 + 1, 2),
            "light": round(450 * working + 20 * (working > 0) + abs(float(rng.normal(0, 2))), 1),
            "battery": round(max(99 - number * interval_s / _DAY_SECONDS * 0.3, 1), 1),
        }
        number += 1
