"""Peers, installed once into the cache: Telegraf with Go, Quix Streams with pip, Iceberg's sink with Maven.

    .venv/bin/python -m bench.peers.install

Each raises ConfigError, with the remedy, when it can't be had.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from headrace.errors import ConfigError
from headrace.stack.download import cache_dir

# Iceberg's sink uses a class that Kafka Connect 4.4 has moved: its worker is of the release before. The broker is ours.
TELEGRAF, QUIX, PYARROW, ICEBERG, CONNECT = "1.37.2", "3.28.1", "26.0.1", "1.12.0", "4.3.1"
SECONDS = 1200
TAGS = "custom,inputs.mqtt_consumer,outputs.kafka,parsers.value,serializers.template"
JARS = (
    f"org.apache.kafka:connect-runtime:{CONNECT}",
    f"org.apache.kafka:connect-json:{CONNECT}",
    f"org.apache.iceberg:iceberg-kafka-connect:{ICEBERG}",
    f"org.apache.iceberg:iceberg-aws:{ICEBERG}",
    f"org.apache.iceberg:iceberg-aws-bundle:{ICEBERG}",
    f"org.apache.iceberg:iceberg-parquet:{ICEBERG}",
    "org.apache.hadoop:hadoop-client-api:3.4.1",
    "org.apache.hadoop:hadoop-client-runtime:3.4.1",
    "org.xerial:sqlite-jdbc:3.49.1.0",
    "org.slf4j:slf4j-simple:1.7.36",
)


def telegraf() -> Path:
    """The binary, built with the plugins that it needs and no others."""
    path = _folder("telegraf", TELEGRAF) / "telegraf"
    if not path.is_file():
        module = f"github.com/influxdata/telegraf/cmd/telegraf@v{TELEGRAF}"
        _run("telegraf", ["go", "install", "-tags", TAGS, module], {"GOBIN": str(path.parent)})
    return path


def quix() -> Path:
    """The Python of an environment that has Quix Streams."""
    folder = _folder("quix", QUIX)
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.is_file():
        _run("quix", [sys.executable, "-m", "venv", str(folder)])
        wanted = [f"quixstreams=={QUIX}", f"pyarrow=={PYARROW}"]
        _run("quix", [str(python), "-m", "pip", "install", "-q", "--only-binary", ":all:", *wanted])
        done.touch()
    return python


def iceberg() -> Path:
    """The folder with the jars of Kafka Connect and of the sink."""
    folder = _folder("iceberg", f"{ICEBERG}-{CONNECT}")
    done = folder / "installed"
    if not done.is_file():
        with tempfile.TemporaryDirectory() as made:
            Path(made, "pom.xml").write_text(_pom(), encoding="utf-8")
            argv = ["mvn", "-q", "-B", "-f", made, "dependency:copy-dependencies", "-DincludeScope=runtime"]
            _run("iceberg", [*argv, f"-DoutputDirectory={made}/jars"])
            for jar in Path(made, "jars").iterdir():
                shutil.copy(jar, folder)
        done.touch()
    return folder


def _pom() -> str:
    rows = ""
    for jar in JARS:
        parts = zip(("groupId", "artifactId", "version"), jar.split(":"), strict=True)
        rows += f"<dependency>{''.join(f'<{tag}>{value}</{tag}>' for tag, value in parts)}</dependency>\n"
    own = "<groupId>x</groupId><artifactId>x</artifactId><version>1</version><packaging>pom</packaging>"
    head = f'<project xmlns="http://maven.apache.org/POM/4.0.0">\n<modelVersion>4.0.0</modelVersion>{own}\n'
    return f"{head}<dependencies>\n{rows}</dependencies></project>\n"


def _folder(name: str, version: str) -> Path:
    path = cache_dir() / "bench" / f"{name}-{version}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _run(what: str, argv: list[str], env: dict[str, str] | None = None) -> None:
    if shutil.which(argv[0]) is None:
        raise ConfigError(f"{what}: `{argv[0]}` is needed to install it, and is not on the PATH. Install that")
    print(f"installing {what}: {' '.join(argv)}", flush=True)
    try:
        subprocess.run(argv, env={**os.environ, **(env or {})}, timeout=SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
        raise ConfigError(f"{what} could not be installed: {e}. Run it by hand to see why") from None


if __name__ == "__main__":
    for install in (telegraf, quix, iceberg):
        print(install())
