"""An inertial unit on the wrist of a person who walks, stands and sits."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

GRAVITY = 9.80665  # m/s2
_CHUNK = 256
_SPELL_SECONDS = (8.0, 30.0)  # of one activity
_ACTIVITIES = ("WALKING", "STANDING", "SEATED")
# Noise of an ordinary MEMS unit (such as a BMI270 at 100 Hz bandwidth), and how fast its biases wander.
_ACCELERATION_NOISE, _RATE_NOISE = 0.02, 0.0015  # m/s2, rad/s
_ACCELERATION_WALK, _RATE_WALK = 2e-4, 1e-5  # per sample


def motion(rng: "np.random.Generator", rate: float) -> Iterator[dict[str, Any]]:
    """Readings of the imu contract at `rate` Hz: m/s2, rad/s, Cel, %.

    Specific force is gravity and the body's own acceleration, turned into the sensor's frame by its pitch and roll;
    the gyroscope sees the same angles' derivatives, by the Euler kinematics of a z-y-x rotation (Diebel, Representing
    Attitude, 2006, eq. 76). Walking is a cadence with harmonics: vertical at the step rate, sideways at half of it.
    """
    import numpy as np

    cadence = rng.uniform(1.6, 2.1)  # steps a second
    swing = rng.uniform(0.3, 0.6)  # rad, of the arm
    pitch_0, roll_0 = rng.uniform(-0.4, 0.4, 2)
    bias_a, bias_g = rng.normal(0, 0.05, 3), rng.normal(0, 0.005, 3)
    warm, battery = rng.uniform(26, 31), rng.uniform(60, 100)
    effort = 0.0  # 0 at rest, 1 walking: moves smoothly between
    left, activity = 0, "STANDING"
    done = 0
    while True:
        if left <= 0:
            left = int(rng.uniform(*_SPELL_SECONDS) * rate) + 1
            activity = str(rng.choice(_ACTIVITIES))
        n = min(_CHUNK, left)
        left -= n
        t = (done + np.arange(n)) / rate
        goal = 1.0 if activity == "WALKING" else 0.0
        level = goal + (effort - goal) * np.exp(-np.arange(1, n + 1) / (0.5 * rate))
        effort = float(level[-1])
        stride, step = np.pi * cadence * t, 2 * np.pi * cadence * t
        pitch = pitch_0 + level * swing * np.sin(stride)
        roll = roll_0 + level * 0.15 * np.sin(step + 0.7)
        pitch_rate = level * swing * np.pi * cadence * np.cos(stride)
        roll_rate = level * 0.15 * 2 * np.pi * cadence * np.cos(step + 0.7)
        yaw_rate = level * 0.2 * np.sin(stride + 1.1)
        forward = level * (1.2 * np.sin(step + 0.4) + 0.4 * np.sin(2 * step))
        aside = level * 0.8 * np.sin(stride + 0.2)
        up = GRAVITY + level * (2.5 * np.sin(step) + 0.9 * np.sin(2 * step + 0.5) + 0.3 * np.sin(3 * step))
        sp, cp, sr, cr = np.sin(pitch), np.cos(pitch), np.sin(roll), np.cos(roll)
        force = np.stack([
            cp * forward - sp * up,
            sr * sp * forward + cr * aside + sr * cp * up,
            cr * sp * forward - sr * aside + cr * cp * up,
        ])  # fmt: skip
        spin = np.stack([
            roll_rate - sp * yaw_rate,
            cr * pitch_rate + cp * sr * yaw_rate,
            -sr * pitch_rate + cp * cr * yaw_rate,
        ])  # fmt: skip
        drift_a = bias_a[:, None] + np.cumsum(rng.normal(0, _ACCELERATION_WALK, (3, n)), axis=1)
        drift_g = bias_g[:, None] + np.cumsum(rng.normal(0, _RATE_WALK, (3, n)), axis=1)
        bias_a, bias_g = drift_a[:, -1], drift_g[:, -1]
        a = np.round(force + drift_a + rng.normal(0, _ACCELERATION_NOISE, (3, n)), 4)
        g = np.round(spin + drift_g + rng.normal(0, _RATE_NOISE, (3, n)), 5)
        heat = np.round(warm + 4 * (1 - np.exp(-t / 600)) + rng.normal(0, 0.02, n), 2)
        charge = np.round(np.maximum(battery - t / 3600 * 1.5, 1), 1)
        done += n
        for i in range(n):
            yield {
                "ax": float(a[0, i]), "ay": float(a[1, i]), "az": float(a[2, i]),
                "gx": float(g[0, i]), "gy": float(g[1, i]), "gz": float(g[2, i]),
                "temperature": float(heat[i]), "battery": float(charge[i]), "label": activity,
            }  # fmt: skip
