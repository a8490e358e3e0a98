# Sourced by the scripts beside it: where the project is, what they say, and how they find Rust.
# shellcheck shell=bash

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$project" || exit 1

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' plain=$'\e[0m'
else
    bold='' plain=''
fi

# Progress goes to stderr, like everything that is not data.
say() {
    printf '%s==> %s%s\n' "$bold" "$*" "$plain" >&2
}

# fail WHAT REMEDY...: says what is wrong and what to do about it, and ends the script.
fail() {
    printf '%serror: %s%s\n' "$bold" "$1" "$plain" >&2
    shift
    printf '  remedy: %s\n' "$@" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# version_at_least WANTED FOUND
version_at_least() {
    printf '%s\n%s\n' "$1" "$2" | sort -V -C
}

# Puts cargo on the PATH where rustup left it, and checks that it is new enough.
use_rust() {
    local wanted found bin="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
    if ! have cargo && [ -x "$bin/cargo" ]; then
        PATH="$bin:$PATH"
    fi
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! have cargo || ! have rustc; then
        fail "Rust is not installed" \
            "install Rust $wanted or newer with rustup, the Rust project's installer (Debian's package is too old)" \
            "then run this again"
    fi
    found=$(rustc --version | cut -d' ' -f2)
    version_at_least "$wanted" "$found" || fail "Rust $found is too old: this needs $wanted" \
        "rustup update stable"
    # A registry that hiccups once must not fail a set-up.
    export CARGO_NET_RETRY="${CARGO_NET_RETRY:-5}"
}
