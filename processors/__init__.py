"""Service: cleans readings in Kafka, and stores them in the lake."""
