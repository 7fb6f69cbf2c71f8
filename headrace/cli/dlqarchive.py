"""`headrace dlq archive`: dead letters into the lake."""

from headrace.cli import context
from headrace.cli.output import say


def archive() -> None:
    """Keep dead letters in the lake, for longer than Kafka does, as they are and with what was decided about them.

    Run it now and then: each run keeps what has come since. `headrace query "from dead_letters"` reads what is kept and
    what is still in Kafka alone.
    """
    from headrace import kafka
    from headrace.lake import letters
    from headrace.store.open import open_store

    cfg = context.config()
    kafka.probe(cfg.kafka)
    found = letters.keep(cfg, open_store(cfg.store))
    say(f"{found.records:,} records of {cfg.dead_letters.topic} kept")
    if found.missed:
        say(f"{found.missed:,} offsets before them had been deleted by Kafka: run this more often")
