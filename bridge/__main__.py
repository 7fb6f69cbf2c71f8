import sys

from bridge.service import main
from headrace.service import run_service

sys.exit(run_service("bridge", main))
