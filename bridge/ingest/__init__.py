"""HTTP to Kafka: readings that devices post, for those without MQTT."""
