"""Recordings in files, sent over MQTT as if from the devices that took them."""
