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
BRIDGE_RECEIVED = Counter("headrace_bridge_received_total", "MQTT messages that came, copies included", ["qos"])
BRIDGE_SKIPPED = Counter(
    "headrace_bridge_skipped_total",
    "MQTT messages that became nothing: qos0_full (no room while Kafka is away), tombstone (a retained message was "
    "deleted), empty (an array without elements), copy (of a message that another subscription brings)",
    ["why"],
)
BRIDGE_IGNORED_FIELDS = Counter(
    "headrace_bridge_ignored_fields_total", "Payload fields dropped that the contract does not have", ["stream"]
)
BRIDGE_UNACKNOWLEDGED = Gauge(
    "headrace_bridge_unacknowledged_messages",
    "MQTT messages received, not acknowledged: those of QoS 1, and of QoS 0 those that asked for a receipt",
)
BRIDGE_RECEIPTS = Counter(
    "headrace_bridge_receipts_total",
    "Receipts: sent, dropped (the connection was gone or clogged), refused (asked for outside of bridge.receipts)",
    ["outcome"],
)
BRIDGE_IN_FLIGHT = Gauge("headrace_bridge_in_flight_records", "Records given to the Kafka client, not yet delivered")
BRIDGE_CONNECTIONS = Counter("headrace_bridge_connections_total", "MQTT connections made")
BRIDGE_SESSIONS_LOST = Counter(
    "headrace_bridge_sessions_lost_total",
    "Reconnections where the broker had forgotten the session: readings may be lost",
)

# Clean
CLEAN_ROWS = Counter(
    "headrace_clean_rows_total", "Raw readings dealt with: kept, changed, rejected or repeated", ["stream", "outcome"]
)

# Archive
ARCHIVE_ROWS = Counter("headrace_archive_rows_total", "Rows stored in the lake", ["stream"])
ARCHIVE_REPEATS = Counter(
    "headrace_archive_repeats_total", "Rows dropped since their source was stored before", ["stream"]
)
ARCHIVE_LOST = Counter(
    "headrace_archive_lost_records_total", "Records that Kafka deleted before they were stored", ["stream"]
)
ARCHIVE_BATCHES = Counter("headrace_archive_batches_total", "Batches stored, by what ended them", ["stream", "cause"])
ARCHIVE_FILES = Counter("headrace_archive_files_total", "Data files stored", ["stream"])
ARCHIVE_BYTES = Counter("headrace_archive_bytes_total", "Bytes of data files stored", ["stream"])
ARCHIVE_COMMITS = Counter("headrace_archive_commits_total", "Offsets committed")
ARCHIVE_BUFFER = Gauge("headrace_archive_buffer_bytes", "Messages held in memory")
ARCHIVE_UNREAD = Gauge(
    "headrace_archive_unread_records", "Records in Kafka not yet read: scale on this", ["topic", "partition"]
)
