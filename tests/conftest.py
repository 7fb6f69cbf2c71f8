"""For all tests: Hypothesis judges by what it finds, never by how fast a busy machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")
