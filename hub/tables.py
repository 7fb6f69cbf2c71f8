"""The tables of hub's database. `hub/migrations` makes them, and a test compares the two.

Times are microseconds since 1970 UTC. Passwords and tokens are kept as hashes only, keys (PSK) as they are.
"""

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts by itself only what is called INTEGER

devices = Table(
    "devices",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("serial", String(200), nullable=False),
    Column("model", String(200), nullable=False),
    Column("firmware", String(200), nullable=False),
    Column("owner", String(200), nullable=False),
    Column("tags", JSON, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("last_seen", BigInteger),
    Index("devices_by_state", "state"),
    Index("devices_by_serial", "serial"),
)

# What a search looks through: see hub/search.py.
words = Table(
    "words",
    metadata,
    Column("device", String(64), ForeignKey("devices.id"), primary_key=True),
    Column("words", Text, nullable=False),
)
labels = Table(
    "labels",
    metadata,
    Column("label", String(65), primary_key=True),  # #tag or @group
    Column("device", String(64), ForeignKey("devices.id"), primary_key=True),
    Index("labels_by_device", "device"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("device", String(64), ForeignKey("devices.id"), nullable=False),
    Column("kind", String(16), nullable=False),  # and what is kept of it: hub.credentials.CredentialKind
    Column("verifier", Text, nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    Column("ends", BigInteger),
    Column("key", String(64)),  # SHA-256 of a certificate's public key
    Column("certificate", Text),  # in PEM: a device whose answer was lost gets it once more
    Index("credentials_by_device", "device"),
    Index("credentials_by_key", "key"),
)

# What lets a device ask for its first certificate, or begin anew: a one-time token, or the claim of its batch.
enrolments = Table(
    "enrolments",
    metadata,
    Column("device", String(64), ForeignKey("devices.id"), primary_key=True),
    Column("hash", String(64), unique=True),  # SHA-256 of the token; null: by a claim
    Column("claim", String(64)),
    Column("made", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),  # until when it may be used first
    Column("key", String(64)),  # SHA-256 of the public key that has used it; no other may
    Column("used", BigInteger),
)

# One for all devices of a group, that may do nothing but ask for certificates in the name of those that wait for one.
claims = Table(
    "claims",
    metadata,
    Column("name", String(64), primary_key=True),  # and the group
    Column("certificate", Text, nullable=False),  # in PEM
    Column("at_once", Boolean, nullable=False),  # its devices are active as soon as they have asked
    Column("made", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),
    Column("revoked", BigInteger),
)

calibrations = Table(
    "calibrations",
    metadata,
    Column("device", String(64), ForeignKey("devices.id"), primary_key=True),
    Column("since", String(10), primary_key=True),  # a date, 2026-01-31: the values count from its beginning, UTC
    Column("values", JSON, nullable=False),
)

# What Kafka is to be told, in the order in which it happened: written in the transaction of the change itself.
outbox = Table(
    "outbox",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("stream", String(48), nullable=False),
    Column("key", String(64), nullable=False),
    Column("payload", Text, nullable=False),  # JSON
    Column("published", BigInteger),
    Index("outbox_waiting", "published", "number"),
)

# Who did what. Each row's hash covers the row and the hash before it: see headrace/protocol/auditlog.py.
audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("act", String(64), nullable=False),
    Column("target", String(200), nullable=False),
    Column("detail", Text, nullable=False),  # JSON, as it was hashed
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("audit_by_target", "target", "number"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", String(64), primary_key=True),  # SHA-256
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("revoked", BigInteger),
)

# Who is logged in at the console (session), and codes that log in once (code). `token`: the hash of the token with
# which it began, so that it ends with the token.
sessions = Table(
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True),  # SHA-256 of what the browser has
    Column("kind", String(16), nullable=False),
    Column("token", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("role", String(16), nullable=False),
    Column("ends", BigInteger, nullable=False),
)

# Who has gone over a limit of behaviour, and since when: see hub/behaviour.py.
episodes = Table(
    "episodes",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("rule", String(16), nullable=False),
    Column("who", String(64), nullable=False),  # a device, or an address
    Column("value", BigInteger, nullable=False),
    Column("most", BigInteger, nullable=False),
    Column("act", String(16), nullable=False),  # event, quarantined, or withheld
    Column("begun", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),  # over the limit, for the last time
    Column("ended", BigInteger),
    Index("episodes_by_who", "who", "rule"),
)

# How far the streams were looked through for who was seen.
positions = Table(
    "positions",
    metadata,
    Column("topic", String(64), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, nullable=False),
)

# Counters: outbox and audit (the last numbers given), broker (the version of what the MQTT broker gets), applied (the
# version that it has), crl (of the list of revoked certificates), authority (a digest of the one that signs them),
# unproven (1 while the broker does not go by that list), identity (random: tells this database from another).
meta = Table(
    "meta",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
COUNTERS = ("outbox", "audit", "broker", "applied", "crl", "authority", "unproven", "identity")
