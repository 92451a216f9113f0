#!/bin/sh
# Installs from Debian or Ubuntu what the tests talk to, when run as root there; elsewhere says what
# is missing and how to get it (the tests skip it), or fails when CI=true.
set -eu

has_postgresql() {
    for found in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$found" ] && return 0
    done
    command -v initdb >/dev/null
}
has_redis() { command -v redis-server >/dev/null || command -v valkey-server >/dev/null; }
has_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
    command -v google-chrome >/dev/null; }
has_korean_font() {
    [ -d /usr/share/fonts/truetype/nanum ] ||
        { command -v fc-list >/dev/null && [ -n "$(fc-list :lang=ko 2>/dev/null)" ]; }
}

find_missing() {
    missing=
    has_postgresql || missing="$missing postgresql"
    has_redis || missing="$missing redis-server"
    has_chromium || missing="$missing chromium"
    has_korean_font || missing="$missing fonts-nanum"
    command -v strace >/dev/null || missing="$missing strace"
    command -v ip >/dev/null || missing="$missing iproute2"
}

find_missing
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "goldentime: installing for the tests:$missing" >&2
    # 101 forbids packages to start their service: the tests start their own and stop them.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # shellcheck disable=SC2086  # one word per package
    { apt-get update && apt-get install --yes --no-install-recommends $missing; } >"$log" 2>&1 ||
        tail -n 20 "$log" >&2
    rm -f "$log"
    find_missing
fi
[ -n "$missing" ] || exit 0
echo "goldentime: not on this machine:$missing. What needs them is skipped; on Debian and Ubuntu," \
    "as root: apt-get install$missing" >&2
[ "${CI:-}" != true ]
