"""Kafka clients with safe settings, and librdkafka's errors as ours. Import it as `from headrace import kafka`."""

from headrace.kafka.client import *  # noqa: F403
