"""A simulated fleet: devices that publish over MQTT the readings of a physical model."""
