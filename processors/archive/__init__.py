"""Kafka topics to the lake, each source position exactly once: see docs/decisions/no-transactions.md."""
