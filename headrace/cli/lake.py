"""`headrace lake`: compact the lake's files, list those that count."""

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import context
from headrace.cli.output import data, progress, say, show
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.lake.compaction import Report

app = typer.Typer(help="Compact the lake's files; list those that count.", add_completion=False)

StreamsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[STREAM]...", help="Streams, or topics that are archived; by default all."),
]


@app.command()
def compact(
    streams: StreamsArgument = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="First make manifests anew that were lost, of the files and the ledger."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Merge small files into few large ones, sorted by device and time, and remove those replaced an hour ago.

    Queries go on meanwhile and never see a row twice or not at all. The service compact does the same every few
    minutes; both may run at once. It may be interrupted at any time: the next round goes on. Exit code 1 when something
    was in the way, such as a hole in the ledger.

    Where the folder _compacted was removed, or restored from an older copy, queries end with an error that says so.
    Then --rebuild looks at all compacted files, checks their rows by the ledger, and writes again which of them count.
    """
    import orjson

    from headrace.lake.compaction import Report, no_room
    from headrace.lake.compaction import compact as work
    from headrace.store.open import open_store

    cfg = context.config()
    topics = _topics(cfg, streams)
    store = open_store(cfg.store)
    report = Report()
    with progress("topics") as bar:
        task = bar.add_task("", total=len(topics), count=len(topics))
        for topic in topics:
            try:
                done = work(
                    cfg,
                    store,
                    topics=[topic],
                    dry_run=dry_run,
                    rebuild=rebuild,
                    notify=lambda words: bar.update(task, description=words),
                )
            except OSError as e:
                raise ConfigError(no_room(e)) from None
            report.topics |= done.topics
            bar.advance(task)
    if json:
        data(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        _show(report, least=cfg.compact.files, dry_run=dry_run)
    if not report.good:
        raise typer.Exit(1)


@app.command()
def files(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="A stream, or a topic that is archived.")],
    keys: Annotated[bool, typer.Option("--keys", help="Print the objects' keys, not their URLs.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON: key, url, date, schema id, partition.")] = False,
) -> None:
    """List a stream's files that count, a URL a line: for Spark, pandas and others that read Parquet.

    A reader of the whole folder sees rows twice after a compaction, until the replaced files are removed. Read the
    listed files within an hour (compact.grace_seconds), or list them again.
    """
    import orjson

    from headrace.lake import manifest, remote
    from headrace.store.open import open_store

    cfg = context.config()
    (topic,) = _topics(cfg, [stream])
    root = remote.root(cfg.store)
    found = manifest.visible(open_store(cfg.store), topic).files
    if json:
        out = [
            {"key": f.key, "url": f"{root}/{f.key}", "date": f.date, "schema_id": f.schema_id, "partition": f.partition}
            for f in found
        ]
        data(orjson.dumps(out, option=orjson.OPT_INDENT_2).decode())
        return
    for f in found:
        data(f.key if keys else f"{root}/{f.key}")
    if not found:
        say(f"nothing of {stream} is stored yet")


def _topics(cfg: "Config", names: list[str] | None) -> list[str]:
    """The archived topics that are meant: all for none."""
    from headrace.protocol.names import clean_topic

    known = list(cfg.archived)
    out = []
    for name in names or known:
        topic = name if name in known else clean_topic(name)
        if topic not in known:
            raise ConfigError(f"{name} is not archived. Topics that are: {', '.join(known) or '(none)'}")
        out.append(topic)
    return list(dict.fromkeys(out))


def _show(report: "Report", *, least: int, dry_run: bool) -> None:
    from rich.filesize import decimal
    from rich.table import Table

    from headrace.protocol.names import CLEAN

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("stream", no_wrap=True)
    for name in ("files\nbefore", "files\nafter", "merged", "into", "rows", "size", "objects\nremoved"):
        table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    for topic, it in report.topics.items():
        sums = ("", "") if dry_run else (f"{it.rows:,}", decimal(it.bytes))
        counts = (it.before, it.after, it.merged, it.merges)
        table.add_row(topic.removesuffix(CLEAN), *(f"{n:,}" for n in counts), *sums, f"{it.removed:,}")
    show(table)
    for it in report.topics.values():
        for words in it.problems:
            say(words)
    if not any(it.merged or it.removed or it.problems for it in report.topics.values()):
        say(f"nothing to merge or remove yet: of today's files, {least} of a partition and schema become one")
    elif dry_run:
        say("nothing was done: leave out --dry-run to do it")
