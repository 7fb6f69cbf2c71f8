"""Sparkplug B payloads: metrics, by their names or by aliases that a birth names."""
