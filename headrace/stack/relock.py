"""`make lock`: resolve Kafka's jars with Maven and write downloads.json. Needs `mvn`; run by maintainers only."""

import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from headrace.stack.download import LOCK, MAVEN

KAFKA = "4.4.0"
# Kafka 4.4 brings slf4j 1.7, whose binding is log4j-slf4j-impl: with log4j-slf4j2-impl it logs nothing at all.
LOG4J = "2.26.1"
APICURIO = "3.3.3"

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>x</groupId><artifactId>x</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version></dependency>
<dependency>
<groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{LOG4J}</version>
</dependency>
</dependencies></project>
"""


def main() -> None:
    """Resolve, hash and write the lock."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pom.xml").write_text(POM, encoding="utf-8")
        jars = Path(folder) / "jars"
        copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        subprocess.run(["mvn", "-q", "-B", *copy, "-Dmdep.useRepositoryLayout=true"], cwd=folder, check=True)
        kafka = [_entry(p.relative_to(jars).as_posix(), p.read_bytes()) for p in sorted(jars.rglob("*.jar"))]
    path = f"io/apicurio/apicurio-registry-app/{APICURIO}/apicurio-registry-app-{APICURIO}-all.tar.gz"
    archive, sha1 = _get(path), _get(f"{path}.sha1").decode()
    if hashlib.sha1(archive, usedforsecurity=False).hexdigest() != sha1.strip():
        sys.exit(f"{path}: not what its .sha1 says")
    lock = {
        "base": MAVEN,
        "kafka": {"version": KAFKA, "files": kafka},
        "apicurio": {"version": APICURIO, "files": [_entry(path, archive)]},
    }
    LOCK.write_text(json.dumps(lock, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{LOCK}: {len(kafka)} jars of Kafka {KAFKA}, Apicurio Registry {APICURIO}\n")


def _get(path: str) -> bytes:
    with urllib.request.urlopen(MAVEN + path) as response:  # noqa: S310 (https, fixed)
        data: bytes = response.read()
    return data


def _entry(path: str, data: bytes) -> dict[str, object]:
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


if __name__ == "__main__":
    main()
