#!/bin/sh
# Builds the Debian packages `fleetgate` and `fleetgate-gateway` from programs that are built already, into a directory.
# Needs cargo-deb (cargo install --locked cargo-deb).
set -eu

usage() {
  cat <<'EOF'
usage: install/packages.sh --profile NAME --output DIR [--target TRIPLE] [--version VERSION] [--fast]

  --profile NAME     the profile that the programs were built with: release, quickstart or dev
  --target TRIPLE    the target they were built for, if one was named
  --version VERSION  another version than that of Cargo.toml
  --fast             compress less
EOF
}

fail() {
  printf 'packages: %s\n' "$*" >&2
  exit 1
}

profile=release output='' target='' version='' fast=''
while [ $# -gt 0 ]; do
  case $1 in
    --profile | --output | --target | --version)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case $1 in
        --profile) profile=$2 ;;
        --output) output=$2 ;;
        --target) target=$2 ;;
        --version) version=$2 ;;
      esac
      shift
      ;;
    --fast) fast=yes ;;
    *)
      usage >&2
      fail "unknown argument: $1"
      ;;
  esac
  shift
done
[ -n "$output" ] || {
  usage >&2
  exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=install/pages.sh
. "$here/pages.sh"
command -v cargo-deb >/dev/null || fail "cargo-deb is missing: cargo install --locked cargo-deb@3.8.0"

# debian_pages PACKAGE DIRECTORY: what Debian wants of them beyond an archive's: compressed, and a changelog of the package itself.
debian_pages() {
  gzip -9n "$2/man"/*.1
  maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' "$here/../gateway/Cargo.toml")
  written=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)}
  number=${version:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -n 1)-1}
  printf '%s (%s) unstable; urgency=medium\n\n  * What is new stands in changelog.gz.\n\n -- %s  %s\n' "$1" "$number" "$maintainer" \
    "$(LC_ALL=C date -u -R -d "@$written")" | gzip -9n >"$2/changelog.Debian.gz"
}

mkdir -p "$output"
output=$(cd "$output" && pwd)
programs=$(built_programs "$here/.." "$profile" "$target")
for program in fleetgate fleetgate-gateway; do
  [ -x "$programs/$program" ] || fail "$programs/$program does not exist: build it first"
  write_pages "$programs/$program" "$programs/pages/$program"
  debian_pages "$program" "$programs/pages/$program"
done
for package in fleetgate-sidecar fleetgate-gateway; do
  (
    cd "$here/.."
    set -- --no-build --locked --package "$package" --profile "$profile" --output "$output/"
    [ -z "$target" ] || set -- "$@" --target "$target"
    [ -z "$version" ] || set -- "$@" --deb-version "$version"
    [ -z "$fast" ] || set -- "$@" --fast --compress-system
    cargo deb "$@"
  )
done
