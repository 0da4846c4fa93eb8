#!/bin/sh
# Every test: formatting, lints, scripts, and all tests over real processes. The last output is the runner's own summary.
# On Debian, run as root, it installs what it needs; otherwise it says what is missing.
set -eu
cd "$(dirname "$0")/.."

say() {
  printf '\n== %s\n' "$*"
}

# Each program with the Debian package that brings it.
needed='cc:build-essential git:git curl:curl shellcheck:shellcheck shfmt:shfmt lsof:lsof zsh:zsh fish:fish mksh:mksh ksh93:ksh patch:patch
chromium:chromium dash:dash busybox:busybox nft:nftables ip:iproute2 python3:python3 node:nodejs npm:npm groff:groff-base man:man-db
systemd-analyze:systemd debootstrap:debootstrap ps:procps chattr:e2fsprogs'

missing_packages() {
  for pair in $needed; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s ' "${pair#*:}"
  done
  # Debian keeps the server's programs out of the path.
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || printf 'postgresql '
  command -v psql >/dev/null 2>&1 || printf 'postgresql-client '
  command -v setpriv >/dev/null 2>&1 || printf 'util-linux '
  # Debian packs venv apart from Python.
  python3 -c 'import ensurepip' >/dev/null 2>&1 || printf 'python3-venv '
}

PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin
export PATH

missing=$(missing_packages)
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  say "Installing $missing"
  apt-get update -q
  # shellcheck disable=SC2086 # a list of packages
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing
  missing=$(missing_packages)
fi
if [ -n "$missing" ]; then
  printf 'tests/run.sh: missing: %s\nOn Debian: apt-get install %s\n' "$missing" "$missing" >&2
  exit 2
fi
if ! command -v cargo >/dev/null 2>&1; then
  printf 'tests/run.sh: cargo is missing. Rust'\''s own installer is at https://rustup.rs\n' >&2
  exit 2
fi

# The test of the Debian packages makes them as a release does. This machine keeps the tool: for a test it need not be a fast one.
if ! command -v cargo-deb >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  say 'Installing cargo-deb'
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install --locked --quiet cargo-deb@3.8.0 || say 'cargo-deb cannot be had: the Debian packages are not tested'
fi

# Variables of a user's own Fleetgate or LiteLLM must not reach the tests.
unset FLEETGATE_GATEWAY FLEETGATE_LISTEN FLEETGATE_HOSTS FLEETGATE_HOST FLEETGATE_CONFIG FLEETGATE_DATABASE FLEETGATE_BIN_DIR
unset FLEETGATE_ADMIN_KEY FLEETGATE_STATE_DIRECTORY DATABASE_URL LITELLM_MASTER_KEY
unset FLEETGATE_ALLOW_USERS FLEETGATE_ALLOW_HOSTS FLEETGATE_REQUIRE_TOKEN FLEETGATE_TOKEN_FILE FLEETGATE_LISTEN_UNIX

say 'Scripts'
git ls-files -z '*.sh' | xargs -0 shellcheck
shellcheck .ci/run

say 'Formatting'
cargo fmt --all --check

say 'Building'
cargo build --locked --workspace

say 'Lints'
cargo clippy --workspace --all-targets --locked -- -D warnings

say 'Tests'
if cargo nextest --version >/dev/null 2>&1; then
  cargo test --locked --workspace --doc --quiet
  exec cargo nextest run --locked --workspace
fi
exec cargo test --locked --workspace
