#!/bin/sh
# Makes the hash-locked requirement files anew from setup.cfg. Needs uv (`pip install uv`).
# What is pinned stays as it is; UPGRADE=1 takes the newest of everything.
# One file serves Python 3.11, 3.12 and 3.13 on every platform; none names an index.
set -eu
cd "$(dirname "$0")/.."
lock() {
    out=$1
    shift
    [ "${UPGRADE:-}" = 1 ] || cp "$out" "$out.new"
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links --output-file "$out.new" "$@"
    {
        echo "# Locked from setup.cfg by: sh requirements/lock.sh"
        echo "# Install with: pip install --no-deps --require-hashes -r $out"
        cat "$out.new"
    } >"$out"
    rm "$out.new"
}
lock requirements/runtime.txt setup.cfg requirements/build.in
lock requirements/test.txt setup.cfg requirements/build.in --extra test --extra bench \
    --constraint requirements/runtime.txt
# Left out of the training lock: triton compiles GPU kernels for torch.compile, which we do not use
# (1 GB); opencv-python is the build that needs a display's libraries, and the headless build of
# the same module takes its place.
lock requirements/training.txt setup.cfg requirements/build.in --extra training \
    --constraint requirements/runtime.txt --no-emit-package triton --no-emit-package opencv-python
