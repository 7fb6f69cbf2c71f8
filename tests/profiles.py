"""How many examples a property test tries: the Hypothesis profile says it, a test only whether it wants more or fewer.

`everyday` is the default. `deep` is for `make test-deep`, or for `pytest --hypothesis-profile=deep`: two hundred
times as many.
"""

from hypothesis import HealthCheck, settings

EXAMPLES = {"everyday": 25, "deep": 5000}


def register() -> None:
    """Register the profiles and load `everyday`. Tests are judged by what they find, never by their speed."""
    for name, number in EXAMPLES.items():
        settings.register_profile(
            name, max_examples=number, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        )
    settings.load_profile("everyday")


def examples(factor: float) -> settings:
    """A decorator for a property test: `factor` times the profile's number of examples, at least one."""
    return settings(max_examples=max(1, round(settings().max_examples * factor)))
