#!/bin/sh
# Makes or completes a virtual environment from a hash-locked file, and installs the project
# itself into it (editable). Called by the Makefile; may be called again at any time.
#   sh requirements/environment.sh FOLDER LOCK_FILE
set -eu
folder=$1
lock=$2

fail() {
    echo "goldentime: $*" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.12 python3.11 python3.13 python3.14 python; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed ($(python3 --version 2>&1 || true) was found first)." \
        "Install one, or name it: make demo PYTHON=/path/to/python3.12"
}

if ! "$folder/bin/python" -c 'import pip' >/dev/null 2>&1; then
    python=$(find_python)
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        fail "$python has no venv module. On Debian and Ubuntu: apt-get install python3-venv"
    rm -rf "$folder"
    echo "goldentime: making $folder with $("$python" --version)" >&2
    "$python" -m venv "$folder"
fi
pip() {
    "$folder/bin/python" -m pip --disable-pip-version-check "$@"
}
echo "goldentime: installing $lock into $folder (minutes, the first time)" >&2
# The lock is complete, so nothing is resolved here (--no-deps): what is not in it cannot come in.
pip install -qq --no-deps --require-hashes -r "$lock" >&2
pip install -qq --no-deps --no-build-isolation --editable . >&2
# The pages' words: a compiled catalogue is no source, so it is not in git.
"$folder/bin/pybabel" --quiet compile --directory web/translations >&2
