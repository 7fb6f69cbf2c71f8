"""The bridge: MQTT to Kafka."""
