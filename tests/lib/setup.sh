# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# What tests/quickstart and tests/run share: packages and builds.  Sourced by bash; $root is the
# top of the tree.

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

packages_to_run="g++ cmake ninja-build pkg-config libdcmtk-dev libjansson-dev libsqlite3-dev
    libssl-dev libpcre2-dev zlib1g-dev libisal-dev libarchive-dev libcurl4-openssl-dev libopenjp2-7-dev python3
    python3-numpy python3-pydicom"
packages_to_test="$packages_to_run abigail-tools libcmocka-dev libmicrohttpd-dev libgnutls28-dev
    clang clang-format libclang-rt-14-dev dcmtk dicom3tools libgdcm-tools dcm2niix man-db strace util-linux"

# install_packages NAME...: one call of apt-get, and only if something is missing.
install_packages() {
    local missing="" name as_root=""

    command -v dpkg-query >/dev/null ||
        die "this is no Debian; install by hand what stands in tests/lib/setup.sh"
    for name in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] ||
            missing="$missing $name"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "these packages are missing, and only root can install \
them: apt-get install$missing"
        as_root=sudo
    fi
    say "Installing$missing"
    # A fresh machine has no package lists; one that has them may be offline.
    # shellcheck disable=SC2086
    {
        $as_root apt-get update -qq </dev/null
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends \
            $missing </dev/null
    } >"${TMPDIR:-/tmp}/sendit-packages.$$" 2>&1 || {
        cat "${TMPDIR:-/tmp}/sendit-packages.$$" >&2
        rm -f "${TMPDIR:-/tmp}/sendit-packages.$$"
        die "apt-get could not install$missing"
    }
    rm -f "${TMPDIR:-/tmp}/sendit-packages.$$"
}

# build FOLDER OPTION...: configure and build; quiet unless it fails.
build() {
    local folder="$root/$1" log
    shift

    mkdir -p "$folder"
    log="$folder/build.log"
    if ! { cmake -S "$root" -B "$folder" -G Ninja "$@" && ninja -C "$folder"; } \
        >"$log" 2>&1 </dev/null; then
        grep -v '^\[.*Building\|^--' "$log" | tail -60 >&2
        say "The whole log: $log" >&2
        return 1
    fi
}
