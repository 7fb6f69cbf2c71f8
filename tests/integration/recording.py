"""Recordings made for the tests, like those of a phone or a watch, with the defects that real ones have."""

import csv
import random
from dataclasses import dataclass
from math import pi, sin
from pathlib import Path

COLUMNS = ("x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro", "timestamp", "label")
MAPPING = "x_acc=ax,y_acc=ay,z_acc=az,x_gyro=gx,y_gyro=gy,z_gyro=gz"
START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Recording:
    """A CSV file and its rows: six axes as floats, the time in ms since 1970 UTC, the label."""

    path: Path
    rows: list[tuple[float, float, float, float, float, float, int, str]]


def make(path: Path, rows: int, seed: int) -> Recording:
    """Write a walk of `rows` samples at about 100 Hz. Some time steps are zero, one is a gap. All lines differ."""
    rnd = random.Random(seed)
    out: list[tuple[float, float, float, float, float, float, int, str]] = []
    t = START_MS + seed * 3_600_000
    for i in range(rows):
        t += 0 if rnd.random() < 0.08 else 20 if rnd.random() < 0.02 else 10
        t += 700 if i == rows // 2 else 0
        phase = 2 * pi * 1.9 * i / 100
        acc = (1.5 * sin(phase), 2.0 * sin(2 * phase), 9.80665 + 3 * sin(phase))
        gyro = (0.5 * sin(phase), 0.2 * sin(phase / 2), 0.8 * sin(phase))
        x = [v + rnd.gauss(0, 0.05) for v in (*acc, *gyro)]
        out.append((x[0], x[1], x[2], x[3], x[4], x[5], t, "WALKING" if i % 500 < 400 else "TURNING"))
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(COLUMNS)
        writer.writerows(out)
    return Recording(path, out)
