"""Kafka topics to the lake, each source position exactly once: service.py states the protocol."""
