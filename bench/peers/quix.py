"""Quix Streams: the same two steps, JSON topic to JSON topic with checks, and that to Parquet.

It does less than clean and archive: no schema registry, no copies dropped, no dead letters (a bad reading is filtered
out), no provenance, files on the local disk and not in an object store, and after a kill it writes rows twice. It reads
JSON, where ours reads Avro.
"""

from functools import partial
from pathlib import Path

from bench.peers import install
from bench.sides import SESSION_MS, Bench, Side

RAW, CLEAN = "bench-quix", "bench-quix-clean"
WORDS = __doc__.split("\n\n")[1].replace("\n", " ") if __doc__ else ""


def _step(bench: Bench, step: str, source: str, target: str) -> tuple[list[str], dict[str, str]]:
    sasl = bench.servers.kafka.sasl
    assert sasl is not None
    assert sasl.password is not None
    env = {
        "KAFKA": bench.servers.kafka.bootstrap, "KAFKA_USER": sasl.username, "SESSION_MS": str(SESSION_MS),
        "KAFKA_PASSWORD": sasl.password.get_secret_value(), "PYTHONPATH": "",
    }  # fmt: skip
    return [str(install.quix()), str(Path(__file__).with_name("quix_app.py")), step, source, target], env


def clean(bench: Bench) -> Side:
    """JSON topic to JSON topic."""
    bench.topic(RAW)
    bench.topic(CLEAN)
    argv, env = _step(bench, "clean", RAW, CLEAN)
    ready = partial(bench.joined, "bench-quix-clean")
    return Side("quix-clean", argv, ready, lambda: bench.ends(CLEAN), env, folder=bench.folder)


def archive(bench: Bench) -> Side:
    """JSON topic to Parquet."""
    argv, env = _step(bench, "store", CLEAN, "quix_files")  # relative: Quix takes no hyphen in a path
    group = "bench-quix-store"
    ready, done = partial(bench.joined, group), partial(bench.committed, group, [CLEAN])
    return Side("quix-archive", argv, ready, done, env, folder=bench.folder)
