#!/bin/sh
# `make install`: a Python that is new enough, the environment in .venv, every package as locked, wheels only.
set -eu
cd "$(dirname "$0")/.."

say() { echo "$*" >&2; }
fail() { say "$*"; exit 1; }

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }

python=
for name in ${PYTHON:-} python3.14 python3.13 python3.12 python3.11 python3; do
    if command -v "$name" >/dev/null 2>&1 && suits "$name"; then
        python=$name
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11 to 3.14 is needed, and none is on the PATH.
  Debian 12, Ubuntu 24.04 and later: sudo apt-get install python3 python3-venv
  Ubuntu 22.04: sudo add-apt-repository ppa:deadsnakes/ppa && sudo apt-get install python3.12 python3.12-venv
  Fedora, RHEL: sudo dnf install python3.12     macOS: brew install python@3.13
Then run make again (PYTHON=/path/of/python make install takes a certain one)."

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "installing $package with apt-get"
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -q --no-install-recommends "$package" >&2 || {
            apt-get update -q >&2
            apt-get install -y -q --no-install-recommends "$package" >&2
        }
    else
        fail "$python lacks its venv module. Debian, Ubuntu: sudo apt-get install $package. Then run make again."
    fi
fi

if ! { [ -x .venv/bin/python ] && suits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi
say "installing the locked packages into .venv: 0.3 GB to download, 1.3 GB on disk, a few minutes, once"
# On a terminal pip shows its progress; in a log that would be hundreds of lines.
if [ -t 1 ] && [ -t 2 ]; then
    quiet=
    say "(pip's last step, \"Installing collected packages\", may say nothing for a minute)"
else
    quiet=-q
fi
.venv/bin/python -m pip install $quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
say "the packages are in; now Headrace itself"
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
touch .venv/installed
