"""`headrace archive`: maintain the archive's positions, and what it has stored."""

import io
from typing import Annotated

import typer

from headrace.cli import context
from headrace.cli.encryption import look
from headrace.cli.output import data, progress, say
from headrace.errors import ConfigError

app = typer.Typer(help="Maintain the archive's positions, and what it has stored.", add_completion=False)


@app.command()
def adopt(
    topics: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TOPIC]...", help="Topics to adopt; by default all that are archived."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Commit the positions; without it they are only printed.")] = False,
) -> None:
    """Derive the archive's positions from the lake, when Kafka has lost them.

    The archive refuses to start when the lake holds rows of a partition and Kafka has no committed offset for it, or an
    offset that the archive did not write. Stop the archive, run this and look at what it prints, then run it again with
    --yes to commit the positions.
    """
    from headrace import kafka
    from headrace.lake import layout, ledger
    from headrace.lake.adopt import Found, begun_batches, derive, newest_rows, valid
    from headrace.protocol.archive_note import encode
    from headrace.protocol.names import CLEAN, raw_topic, stream_of
    from headrace.store.open import open_store

    cfg = context.config()
    known = cfg.archived
    wanted = topics or known
    for topic in wanted:
        if topic not in known:
            raise ConfigError(f"{topic} is not archived. Topics that are: {', '.join(known)}")
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
        "committed. Now start the archive"
        if yes
        else "nothing is committed yet. To commit, run this again with --yes while the archive is stopped"
    )


@app.command()
def encrypt() -> None:
    """Encrypt what is stored and not encrypted as store.sse asks, such as objects older than that setting.

    Reads each of them and writes it again; its bytes, and so the ledger, stay what they are. Services may go on
    meanwhile. Where the bucket keeps old versions, those stay as they were.
    """
    from headrace.lake import encryption
    from headrace.store.open import open_store

    cfg = context.config()
    store = open_store(cfg.store)
    asked = encryption.told_by(store, cfg.store)
    if cfg.store.sse is None:
        raise ConfigError("store.sse is not set: it says how to encrypt. Set it to {kind: s3}, or to {kind: kms}")
    with progress("objects") as bar:
        report = look(bar, store, asked, cfg.store)
        task = bar.add_task("encrypted", total=len(report.wrong), count=len(report.wrong))
        done = encryption.encrypt(asked, report.wrong, lambda n: bar.advance(task, n))
    all_ = f"{report.objects:,} objects"
    say(f"{done:,} of {all_} encrypted now" if report.wrong else f"all {all_} are encrypted")


def _last_offset(file: bytes) -> int:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(file), columns=["_offset"], use_threads=False)
    return int(pc.max(table.column(0)).as_py())
