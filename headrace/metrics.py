"""Every metric of every service. Names: headrace_<thing>_<unit>[_total]; labels have few values, never a device id."""

from prometheus_client import Counter, Gauge

# What each service has
READY = Gauge("headrace_ready", "1 while the dependency is there and the service does its job", ["check"])
LAG = Gauge(
    "headrace_lag_records", "Records in Kafka that the service has yet to deal with", ["service", "topic", "partition"]
)
DEAD_LETTERS = Counter("headrace_dead_letters_total", "Dead letters written", ["stage", "stream", "reason"])

# Bridge
BRIDGE_MESSAGES = Counter("headrace_bridge_messages_total", "Readings that Kafka has acknowledged", ["stream"])

# Clean
CLEAN_ROWS = Counter(
    "headrace_clean_rows_total", "Raw readings dealt with: kept, changed, rejected or repeated", ["stream", "outcome"]
)

# Archive
ARCHIVE_ROWS = Counter("headrace_archive_rows_total", "Rows stored in the lake", ["stream"])
