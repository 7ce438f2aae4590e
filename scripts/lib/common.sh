# Shared by the scripts: where things are, and installing what they need. Sourced, never run.
# shellcheck shell=bash

set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$repo"
# rustup puts its programs here; a fresh login shell may not have them on its path yet.
[ -f "${HOME:-/root}/.cargo/env" ] && . "${HOME:-/root}/.cargo/env"

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

need_root() {
    [ "$(id -u)" = 0 ] || die "must be run as root: containers need namespaces, mounts and loop devices"
}

# Installs the Debian packages among the arguments that are missing.
need_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return 0
    command -v apt-get >/dev/null || die "needs Debian's packages: ${missing[*]}"
    say "installing ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
        die "could not install: ${missing[*]}"
}

need_rust() {
    command -v cargo >/dev/null || die "needs Rust: install rustup (https://rustup.rs), then run this again"
}

# Makes std for a target available: by rustup, else built from Debian's rust-src of the same version.
# Prints the additional cargo arguments that builds for this target need.
rust_target() {
    local target=$1
    if rustup target list --installed 2>/dev/null | grep -qx "$target"; then return 0; fi
    if rustup target add "$target" >&2 2>/dev/null; then return 0; fi
    local version source
    version=$(rustc --version | cut -d' ' -f2)
    source=/usr/src/rustc-$version/library
    if [ ! -d "$source" ]; then
        apt-get install -y -qq --no-install-recommends rust-src >&2 || true
        apt-get install -y -qq --no-install-recommends -t bookworm-backports rust-src >&2 || true
    fi
    [ -d "$source" ] || die "no standard library for $target: neither 'rustup target add' nor Debian's rust-src $version"
    local sysroot
    sysroot=$(rustc --print sysroot)/lib/rustlib/src/rust
    mkdir -p "$sysroot"
    [ -e "$sysroot/library" ] || ln -s "$source" "$sysroot/library"
    export RUSTC_BOOTSTRAP=1
    echo "-Zbuild-std=std,panic_abort"
}
