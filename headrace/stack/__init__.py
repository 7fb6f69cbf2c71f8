"""The local stack: Mosquitto, Kafka, Apicurio Registry, SeaweedFS and Headrace's services as plain processes."""
