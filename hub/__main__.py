import sys

from headrace.config.check import Service
from headrace.runtime.service import run_service
from hub.service import main

sys.exit(run_service("hub", main, reads=Service.HUB))
