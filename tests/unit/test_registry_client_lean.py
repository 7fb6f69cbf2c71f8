"""The registry's client comes without the library for OAuth, which is there for all others."""

import os
import subprocess
import sys


def test_the_library_for_oauth_is_not_imported_and_can_be() -> None:
    code = """
import sys
import headrace.schema_registry.client
assert not [name for name in sys.modules if name.startswith("authlib")]
from authlib.integrations.httpx_client import OAuth2Client
assert OAuth2Client is not None
"""
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


def test_who_has_imported_it_before_keeps_it() -> None:
    code = """
import sys
import authlib.integrations.httpx_client as given
import headrace.schema_registry.client
assert sys.modules["authlib.integrations.httpx_client"] is given
"""
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
