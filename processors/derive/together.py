"""Every derived stream of the configuration, each in a thread of its own."""

import threading
from contextlib import ExitStack

from headrace.config import Config
from headrace.runtime.health import Health
from headrace.schema_registry.client import Registry
from processors.derive import deriver, loader, loading
from processors.derive.deriver import Deriver
from processors.derive.loader import Loader
from processors.derive.service import FUNCTIONS
from processors.group import relay


def run_all(config: Config, health: Health, stop: threading.Event) -> None:
    """Make every derived stream until `stop` is set.

    Where one fails, all end, with its error: FatalError and ConfigError as the design has them.
    """
    failed: list[BaseException] = []
    loading.sweep()
    with Registry(config.registry) as registry, ExitStack() as opened:
        files = {
            s: opened.enter_context(Loader(config, s, registry)) for s in config.derived if config.streams[s].of_files
        }
        made = {s: Deriver(config, s, registry) for s in config.derived if s not in files}
        parts = {stream: health.part(stream, (*relay.CHECKS, "registry")) for stream in config.derived}
        health.ready(FUNCTIONS, True)

        def make(stream: str) -> None:
            try:
                if stream in files:
                    relay.run(loader.settings_of(config, stream), files[stream], parts[stream], stop)
                else:
                    relay.run(deriver.settings_of(config, stream), made[stream], parts[stream], stop)
            except BaseException as e:  # noqa: BLE001 - raised again below
                failed.append(e)
            finally:
                stop.set()

        threads = [threading.Thread(target=make, args=(s,), name=f"derive {s}") for s in config.derived]
        for it in threads:
            it.start()
        for it in threads:
            it.join()
    if failed:
        raise failed[0]
