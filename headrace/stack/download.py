"""What the stack needs besides Python packages: Kafka's jars and Apicurio Registry, pinned in downloads.json.

Files go into a user cache. Each is verified by SHA-256 before it gets its final name; an interrupted download is
resumed. A part (`kafka`, `apicurio`) is complete or absent: its folder appears by one rename.
"""

import fcntl
import hashlib
import http.client
import json
import os
import shutil
import ssl
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from headrace.errors import ConfigError, FatalError, TransientError

LOCK = Path(__file__).with_name("downloads.json")
MAVEN = "https://repo.maven.apache.org/maven2/"
PARTS = ("kafka", "apicurio")
CHUNK = 1 << 18
ATTEMPTS = 6
PAUSE = 0.5  # seconds after the first failure, then doubled
PARALLEL = 6

Report = Callable[[str, int], None]  # the file's name, bytes that arrived now


@dataclass(frozen=True, slots=True)
class File:
    """One pinned file: its path under the base URL, and what it must be."""

    path: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Part:
    """Something that the stack runs. `folder` is where it is, once it is complete."""

    name: str
    version: str
    base: str
    files: tuple[File, ...]
    folder: Path

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(f.size for f in self.files)

    @property
    def present(self) -> bool:
        """Whether it needs no download."""
        return self.folder.is_dir()


def cache_dir() -> Path:
    """$HEADRACE_CACHE, else $XDG_CACHE_HOME/headrace, else ~/.cache/headrace."""
    if own := os.environ.get("HEADRACE_CACHE"):
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache") / "headrace"


def parts(cache: Path | None = None, lock: Path = LOCK) -> dict[str, Part]:
    """The parts in downloads.json. A folder's name holds a hash of the pins: a new lock finds no old part."""
    data: dict[str, Any] = json.loads(lock.read_text(encoding="utf-8"))
    root = cache or cache_dir()
    out = {}
    for name in PARTS:
        files = tuple(File(f["path"], f["sha256"], f["bytes"]) for f in data[name]["files"])
        digest = hashlib.sha256("".join(f.sha256 for f in files).encode()).hexdigest()[:10]
        version = data[name]["version"]
        out[name] = Part(name, version, data["base"], files, root / f"{name}-{version}-{digest}")
    return out


def fetch(wanted: list[Part], report: Report) -> None:
    """Make every part of `wanted` present. Of two processes at once, one waits for the other.

    Raises TransientError when the network stays away, FatalError when a file is not the pinned one.
    """
    missing = [p for p in wanted if not p.present]
    if not missing:
        return
    cache = missing[0].folder.parent
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _fetch([p for p in missing if not p.present], report)


def _fetch(missing: list[Part], report: Report) -> None:
    context, stop = ssl.create_default_context(), threading.Event()
    for part in missing:
        _staging(part).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="download") as pool:
        # The largest first, so that no large one is left for the end.
        jobs = sorted(((p, f) for p in missing for f in p.files), key=lambda job: -job[1].size)
        futures = [pool.submit(_get, p.base + f.path, f, _staging(p) / f.name, report, context, stop) for p, f in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    for part in missing:
        _complete(part)


def _staging(part: Part) -> Path:
    return part.folder.with_name(f".{part.folder.name}.partial")


def _get(url: str, file: File, target: Path, report: Report, context: ssl.SSLContext, stop: threading.Event) -> None:
    """Download to `target`, which is absent or verified. Bytes in `target.part` are kept and continued."""
    if target.is_file():
        report(file.name, file.size)
        return
    partial = target.with_name(f"{target.name}.part")
    have = partial.stat().st_size if partial.is_file() else 0
    report(file.name, have)
    for attempt in range(ATTEMPTS):
        try:
            _transfer(url, file, partial, report, context, stop)
        except (OSError, http.client.HTTPException) as e:
            if stop.is_set():
                return
            reason = _permanent(e, url)
            if isinstance(e, urllib.error.HTTPError):
                e.close()
            if reason is not None:
                raise reason from None
            if attempt == ATTEMPTS - 1:
                raise TransientError(
                    f"{url}: {e}. What has arrived is kept: run the command again to continue"
                ) from None
            stop.wait(min(PAUSE * 2**attempt, 8.0))
            continue
        if stop.is_set():
            return
        if _sha256(partial) == file.sha256:
            partial.replace(target)
            return
        # Bytes of an interrupted run may be bad: try once more from the start.
        report(file.name, -partial.stat().st_size)
        partial.unlink()
        if attempt > 0:
            raise FatalError(
                f"{url}: SHA-256 is not the pinned {file.sha256}. Something between here and the server alters files"
            )


def _transfer(
    url: str, file: File, partial: Path, report: Report, context: ssl.SSLContext, stop: threading.Event
) -> None:
    have = partial.stat().st_size if partial.is_file() else 0
    if have == file.size:
        return
    if have > file.size:
        report(file.name, -have)
        partial.unlink()
        have = 0
    request = urllib.request.Request(url, headers={"User-Agent": "headrace", "Accept-Encoding": "identity"})  # noqa: S310 (https, pinned)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=30, context=context) as response:  # noqa: S310
        if have and response.status != 206:  # the server does not resume
            report(file.name, -have)
            have = 0
        with partial.open("ab" if have else "wb") as out:
            while not stop.is_set() and (chunk := response.read(CHUNK)):
                out.write(chunk)
                have += len(chunk)
                report(file.name, len(chunk))
                if have > file.size:
                    break
    if have < file.size and not stop.is_set():
        raise http.client.IncompleteRead(b"", file.size - have)


def _permanent(error: Exception, url: str) -> ConfigError | None:
    """The error to end with, when another attempt would fail too."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ConfigError(
            f"{url}: the server's certificate is not trusted ({reason.verify_message}). Behind a company proxy, set "
            "SSL_CERT_FILE to its CA bundle; with python.org's Python on macOS, run its 'Install Certificates.command'"
        )
    if isinstance(error, urllib.error.HTTPError) and error.code in {401, 403, 404, 407, 410}:
        return ConfigError(f"{url}: HTTP {error.code} {error.reason}. Is there a proxy in between (https_proxy)?")
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return ConfigError(f"{error.filename}: {error.strerror}. Set HEADRACE_CACHE to a folder with room")
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _complete(part: Part) -> None:
    """Make the part's folder from verified files: archives are unpacked and deleted, jars stay as they are."""
    staging = _staging(part)
    archives = [staging / f.name for f in part.files if f.name.endswith(".tar.gz")]
    made = staging.with_name(f"{staging.name}.unpacked")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for archive in archives:
        _unpack(archive, made)
    for file in part.files:
        if staging / file.name not in archives:
            (staging / file.name).rename(made / file.name)
    made.rename(part.folder)
    shutil.rmtree(staging, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
            return
        for member in tar.getmembers():  # Python before 3.11.4, as Debian 12 has it
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                raise tarfile.TarError(f"{archive.name}: {member.name} points outside of its folder")
            tar.extract(member, folder)
