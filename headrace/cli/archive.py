"""`headrace archive adopt`."""

import io
from typing import Annotated

import typer

from headrace.cli import context
from headrace.cli.output import data, say
from headrace.errors import ConfigError

app = typer.Typer(help="The lake's own housekeeping.", add_completion=False)


@app.callback()
def archive() -> None:
    """Hold `adopt` as a command of its own."""


@app.command()
def adopt(
    topics: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC]...", help="Topics to adopt; all that are archived.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Commit the positions; without it they are only shown.")] = False,
) -> None:
    """Derive the archive's positions from the lake, where Kafka has forgotten them.

    The archive refuses to start where the lake holds rows of a partition and no offset is committed, or another one
    than it wrote. Stop the archive, look at what this prints, then commit it with --yes.
    """
    from headrace import kafka
    from headrace.intent import encode
    from headrace.lake import layout, ledger
    from headrace.lake.adopt import Found, begun_batches, derive, newest_rows, valid
    from headrace.lake.flow import archived_topics
    from headrace.names import CLEAN, raw_topic, stream_of
    from headrace.store.open import open_store

    cfg = context.config()
    known = archived_topics(cfg)
    wanted = topics or known
    for topic in wanted:
        if topic not in known:
            raise ConfigError(f"{topic} is not archived: it is none of {', '.join(known)}")
    store = open_store(cfg.store)
    client = kafka.consumer(cfg.kafka, cfg.archive.group)
    try:
        for topic, info in kafka.describe(cfg.kafka, wanted).items():
            everything = list(ledger.read(store, layout.ledger_prefix(topic)))
            entries = [e for e in everything if e.topic_id == info.id]
            begun = begun_batches(store, topic, info.id, entries)
            now = kafka.committed(client, [(topic, p) for p in range(info.partitions)])
            for p in range(info.partitions):
                starts = begun.get(p, {})
                if len(starts) > 1:
                    raise ConfigError(
                        f"{topic}/{p}: files of several batches ({sorted(starts)}) are in no ledger entry"
                    )
                first, keys = next(iter(starts.items()), (None, []))
                last = max((_last_offset(store.get(key)) for key in keys), default=-1)
                low = kafka.watermarks(client, topic, p)[0]
                mine = [e for e in entries if e.partition == p]
                before = None
                if not mine and topic.endswith(CLEAN):
                    rows = newest_rows(store, [e for e in everything if e.partition == p])
                    before = valid(cfg.kafka, raw_topic(stream_of(topic)), p, rows)
                offset, note = derive(topic, info.id, p, low, Found(mine, first, last, before))
                finish = f", and finish the batch up to {note.intent.end}" if note.intent else ""
                drop = f", drop what came from raw offsets up to {before.offset}" if before else ""
                data(f"{topic}/{p}: read on from {offset}{drop}{finish} (committed now: {now[topic, p][0]})")
                if yes:
                    kafka.commit(client, topic, p, offset, encode(note))
    finally:
        client.close()
    say(
        "committed: start the archive"
        if yes
        else "nothing is committed yet: again with --yes, while the archive is stopped"
    )


def _last_offset(file: bytes) -> int:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    return int(pc.max(pq.read_table(io.BytesIO(file), columns=["_offset"]).column(0)).as_py())
