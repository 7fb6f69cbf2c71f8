"""An accelerometer on a motor whose ball bearing's outer race begins to fail."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SAMPLING_RATE = 12_000.0  # Hz
# A 6205 deep-groove bearing, as in many small motors: 9 balls of 7.94 mm on a pitch circle of 39.04 mm.
BALLS, BALL_TO_PITCH = 9, 7.94 / 39.04
_SHAFT_HZ = 29.95  # 1,797 rpm, an induction motor under light load
_RESONANCE_HZ, _DAMPING = 3_000.0, 900.0  # of the housing; 1/s
_SLIP = 0.015  # the balls' random slip, of the time between two impacts
_ONSET = 0.3  # of the life: until then the bearing is healthy
_GROWTH = 7.0  # e-folds from onset to the end
_SMALLEST, _LARGEST = 0.05, 60.0  # m/s2, of an impact


def outer_race_hz(shaft_hz: float) -> float:
    """How often a ball passes a defect of the outer race: BPFO = n/2 * f * (1 - d/D * cos(angle)), here angle 0."""
    return BALLS / 2 * shaft_hz * (1 - BALL_TO_PITCH)


def bearing(rng: "np.random.Generator", waveforms: int, samples: int) -> Iterator[dict[str, Any]]:
    """Readings of the vibration contract: waveforms of `samples`, in m/s2. After `waveforms` the fault is fully grown.

    Impacts at the ball-pass frequency of the outer race ring the housing's resonance, over the shaft's harmonics and
    noise (Randall and Antoni, Rolling element bearing diagnostics, 2011).
    """
    import numpy as np

    shaft = _SHAFT_HZ * rng.uniform(0.98, 1.02)
    phase = rng.uniform(0, 2 * np.pi, 3)
    ring_for = int(6 / _DAMPING * SAMPLING_RATE)
    k = np.arange(ring_for) / SAMPLING_RATE
    ring = np.exp(-_DAMPING * k) * np.sin(2 * np.pi * _RESONANCE_HZ * k)
    t = np.arange(samples) / SAMPLING_RATE
    number = 0
    while True:
        life = min(number / max(waveforms, 1), 1.0)
        strength = 0.0
        if life >= _ONSET:
            strength = min(_SMALLEST * float(np.exp(_GROWTH * (life - _ONSET) / (1 - _ONSET))), _LARGEST)
        wave = sum(
            amplitude * np.sin(2 * np.pi * shaft * (i + 1) * t + phase[i])
            for i, amplitude in enumerate((0.6, 0.25, 0.1))
        )
        wave = wave + rng.normal(0, 0.15, samples)
        if strength:
            gap = SAMPLING_RATE / outer_race_hz(shaft)
            gaps = gap * (1 + rng.normal(0, _SLIP, int(samples / gap) + 2))
            impulses = np.zeros(samples)
            at = np.cumsum(gaps).astype(int)
            at = at[at < samples]
            impulses[at] = strength * rng.uniform(0.8, 1.2, len(at))
            wave += np.convolve(impulses, ring)[:samples]
        yield {
            "sampling_rate": SAMPLING_RATE,
            "axis": "radial",
            "samples": np.round(wave, 4).tolist(),
            "temperature": round(41 + 12 * life**2 + float(rng.normal(0, 0.1)), 2),
            "battery": round(max(96 - number * 0.01, 1), 1),
        }
        number += 1
