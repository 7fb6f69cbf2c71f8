"""What every service has: start and end, health, logs, metrics, waiting for servers."""
