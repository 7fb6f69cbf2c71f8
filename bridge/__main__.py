import sys

from headrace.config.check import Service
from headrace.runtime.service import run_service

if sys.argv[1:2] == ["redrive"]:
    from bridge.redrive.command import command

    sys.exit(command(sys.argv[2:]))

if sys.argv[1:2] == ["ingest"]:
    from bridge.ingest.service import main as ingest

    sys.exit(run_service("ingest", ingest, sys.argv[2:], reads=Service.INGEST))

from bridge.service import drain, main

if sys.argv[1:2] == ["drain"]:
    sys.exit(run_service("bridge drain", drain, sys.argv[2:], reads=Service.DRAIN))

sys.exit(run_service("bridge", main, reads=Service.BRIDGE))
