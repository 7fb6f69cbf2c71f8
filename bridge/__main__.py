import sys

from headrace.service import run_service

if sys.argv[1:2] == ["replay"]:
    from bridge.replay import command

    sys.exit(command(sys.argv[2:]))

from bridge.service import drain, main

if sys.argv[1:2] == ["drain"]:
    sys.exit(run_service("bridge drain", drain, sys.argv[2:]))

sys.exit(run_service("bridge", main))
