"""Every metric of every service. Names: headrace_<thing>_<unit>[_total]; labels have few values, never a device id."""

from prometheus_client import Counter, Gauge

# What each service has
READY = Gauge("headrace_ready", "1 while the dependency is there and the service does its job", ["check"])
LAG = Gauge(
    "headrace_lag_records", "Records in Kafka not dealt with by the service yet", ["service", "topic", "partition"]
)
DEAD_LETTERS = Counter("headrace_dead_letters_total", "Dead letters written", ["stage", "stream", "reason"])

CONTRACT_REFUSED = Gauge(
    "headrace_contract_refused",
    "1: the stream's contract may not follow the registered one, so its messages become dead letters",
    ["stream"],
)

# Bridge
BRIDGE_MESSAGES = Counter("headrace_bridge_messages_total", "Readings that Kafka has acknowledged", ["stream"])
BRIDGE_RECEIVED = Counter("headrace_bridge_received_total", "MQTT messages received, copies included", ["qos"])
BRIDGE_SKIPPED = Counter(
    "headrace_bridge_skipped_total",
    "MQTT messages that became neither readings nor dead letters: qos0_full (no room while Kafka is away), no_payload "
    "(as when a retained message is deleted), retained (a copy that the broker had kept), empty (an array without "
    "elements), copy (of a message that another subscription brings), ignored (its topic names a field that the "
    "contract does not have), sync (it says when a device was started); of Sparkplug: death, command, heard (no route "
    "takes it; its births and numbers count)",
    ["why"],
)
BRIDGE_IGNORED_FIELDS = Counter(
    "headrace_bridge_ignored_fields_total", "Payload fields dropped that the contract does not have", ["stream"]
)
BRIDGE_SPARKPLUG = Counter(
    "headrace_bridge_sparkplug_total",
    "What was heard of edge nodes of Sparkplug: birth, death, late_death (of an earlier session), gap (messages are "
    "missing), missing (how many, by their numbers), rebirth_asked, forgotten (for want of bridge.births_bytes)",
    ["what"],
)
BRIDGE_SYNCED_DEVICES = Gauge(
    "headrace_bridge_synced_devices", "Devices of which a sync message has said when they were started"
)
BRIDGE_UNACKNOWLEDGED = Gauge(
    "headrace_bridge_unacknowledged_messages",
    "MQTT messages received and not acknowledged: those of QoS 1, and those of QoS 0 that asked for a receipt",
)
BRIDGE_RECEIPTS = Counter(
    "headrace_bridge_receipts_total",
    "Receipts: sent, dropped (connection lost or too slow), refused (asked for a topic outside of bridge.receipts)",
    ["outcome"],
)
BRIDGE_IN_FLIGHT = Gauge("headrace_bridge_in_flight_records", "Records given to the Kafka client and not delivered yet")
BRIDGE_CONNECTIONS = Counter("headrace_bridge_connections_total", "MQTT connections made")
BRIDGE_SESSIONS_LOST = Counter(
    "headrace_bridge_sessions_lost_total",
    "Reconnections where the broker had forgotten the session: readings may be lost",
)

# Clean
CLEAN_ROWS = Counter(
    "headrace_clean_rows_total", "Raw readings dealt with: kept, changed, rejected or repeated", ["stream", "outcome"]
)

# Derive
DERIVE_READINGS = Counter(
    "headrace_derive_readings_total",
    "Readings of which rows of a derived stream were made: kept (any number of rows), rejected, repeated or skipped",
    ["stream", "outcome"],
)
DERIVE_ROWS = Counter("headrace_derive_rows_total", "Rows made for a derived stream", ["stream"])

# Copy
COPY_ROWS = Counter(
    "headrace_copy_rows_total", "Records dealt with: kept (copied), repeated or skipped", ["topic", "outcome"]
)

# Archive
ARCHIVE_ROWS = Counter("headrace_archive_rows_total", "Rows stored in the lake", ["stream"])
ARCHIVE_REPEATS = Counter(
    "headrace_archive_repeats_total", "Rows dropped because their source was stored before", ["stream"]
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
    "headrace_archive_unread_records", "Records in Kafka not read yet: scale on this", ["topic", "partition"]
)

# Compact
COMPACT_ROUNDS = Counter("headrace_compact_rounds_total", "Rounds that ended well, those with nothing to do included")
COMPACT_FAILURES = Counter("headrace_compact_failures_total", "Rounds that failed, and are tried again")
COMPACT_SECONDS = Gauge("headrace_compact_round_seconds", "What the last round took")
COMPACT_FILES = Gauge("headrace_compact_files", "Files that a query of the stream reads", ["stream"])
COMPACT_SMALL = Gauge("headrace_compact_small_files", "Of those, the ones that wait to be merged", ["stream"])
COMPACT_MERGED = Counter("headrace_compact_merged_files_total", "Files that a merged one has replaced", ["stream"])
COMPACT_REMOVED = Counter("headrace_compact_removed_files_total", "Replaced files removed", ["stream"])
COMPACT_ROWS = Counter("headrace_compact_rows_total", "Rows written into merged files", ["stream"])
COMPACT_BYTES = Counter("headrace_compact_bytes_total", "Bytes of merged files written", ["stream"])

# Ingest
INGEST_REQUESTS = Counter("headrace_ingest_requests_total", "Requests answered, by their HTTP status", ["status"])
INGEST_DEVICES = Gauge("headrace_ingest_devices", "Devices and gateways that may log in")

# Hub
HUB_DEVICES = Gauge("headrace_hub_devices", "Devices and gateways in the registry", ["state"])
HUB_OUTBOX = Gauge("headrace_hub_outbox_waiting_rows", "What the registry's streams were not told yet")
HUB_PUBLISHED = Counter("headrace_hub_published_total", "What the registry's streams were told", ["stream"])
HUB_BROKER_VERSION = Gauge(
    "headrace_hub_broker_version", "Version of what the broker is to know of devices: another one at each change"
)
HUB_UNPROVEN = Gauge(
    "headrace_hub_broker_unproven", "1: the MQTT broker does not go by the list of revoked certificates, the agent says"
)
HUB_APPLIED = Gauge("headrace_hub_broker_applied_version", "The version that the agent beside the broker has reported")
HUB_ISSUER = Gauge("headrace_hub_oidc_ready", "1 while the keys of the identity provider can be had", ["issuer"])
HUB_BEHAVIOUR = Counter(
    "headrace_hub_behaviour_total",
    "Times that somebody went over a limit, by what came of it: event, quarantined, or withheld (too many in an hour)",
    ["rule", "outcome"],
)
HUB_BEHAVIOUR_REPORTED = Gauge(
    "headrace_hub_behaviour_reported_timestamp_seconds", "When the agent beside the broker reported what devices do"
)
HUB_UNRENEWED = Gauge(
    "headrace_hub_certificates_unrenewed", "Active devices whose newest certificate is in the last sixth of its life"
)
HUB_LOGINS_REFUSED = Counter("headrace_hub_logins_refused_total", "Requests with a wrong token, or after too many")
