#!/bin/sh
# Installs the gateway or the sidecar on this machine. Run it again to upgrade: configuration is never overwritten.
set -eu
umask 022

usage() {
  cat <<'EOF'
usage: install/install.sh gateway|sidecar [option…]

  --binary FILE   install this program instead of building it with cargo
  --prefix DIR    where bin/ and share/ are (default /usr/local; with --user ~/.local)
  --user          for this person only, without root: the sidecar, and on macOS the gateway too
  --root DIR      put every file below DIR, and leave accounts and services alone (for packages and tests)
  --dry-run       print what would be done and change nothing
EOF
}

fail() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}

part='' binary='' prefix='' root='' scope=system dry=''
while [ $# -gt 0 ]; do
  case $1 in
    gateway | sidecar) part=$1 ;;
    --binary | --prefix | --root)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case $1 in
        --binary) binary=$2 ;;
        --prefix) prefix=$2 ;;
        --root) root=${2%/} ;;
      esac
      shift
      ;;
    --user) scope=user ;;
    --dry-run) dry=yes ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      fail "unknown argument: $1"
      ;;
  esac
  shift
done
[ -n "$part" ] || {
  usage >&2
  exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
system=$(uname -s)
config='' state='' services=''
# shellcheck source=/dev/null # it sets these three
. "$here/places.sh"

case $part in
  gateway) program=fleetgate-gateway ;;
  sidecar) program=fleetgate ;;
esac

# Where the gateway is and, on a server, who may spend: the service has an account of its own, so everybody else is another user.
sidecar_environment() {
  printf '# Read by the service. Where the gateway is:\nFLEETGATE_GATEWAY=http://GATEWAY:4000\n'
  [ "$scope" = system ] || return 0
  allowed=${SUDO_USER-}
  [ "$allowed" != root ] || allowed=''
  printf '# Which users of this machine may use the sidecar, besides root, by name and separated by commas; * is everyone:\n'
  printf 'FLEETGATE_ALLOW_USERS=%s\n' "$allowed"
}

# Does a command, or says what it would do.
run() {
  if [ -n "$dry" ]; then
    printf 'would run: %s\n' "$*"
  else
    "$@"
  fi
}

record() {
  grep -qxF -- "$*" "$work/manifest" || printf '%s\n' "$*" >>"$work/manifest"
}

# place MODE SOURCE TARGET: in one step, so that a running program keeps its old file and nobody sees half a new one.
place() {
  printf '%s\n' "$3"
  [ -d "$root$(dirname "$3")" ] || run mkdir -p "$root$(dirname "$3")"
  # Some of these files hold a secret: nobody may read them before their mode is set.
  (umask 077 && run cp "$2" "$root$3.new")
  run chmod "$1" "$root$3.new"
  run mv -f "$root$3.new" "$root$3"
}

# A file that an upgrade may replace.
own() {
  place "$@"
  record "file $3"
}

# A file that belongs to the administrator as soon as it is there.
keep() {
  if [ -e "$root$3" ]; then
    printf '%s (kept as it is)\n' "$3"
    return
  fi
  place "$@"
  # uninstall.sh compares this sum to tell whether the file was ever edited.
  record "config $(cksum <"$2" | tr ' ' ':') $3"
}

own_directory() {
  [ -d "$root$1" ] || run mkdir -p -m 0755 "$root$1"
  record "directory $1"
}

build() {
  command -v cargo >/dev/null \
    || fail "cargo is not on PATH. Build as yourself with 'cargo build --release --locked -p fleetgate-$part', then run this
  again with --binary target/release/$program"
  (cd "$here/.." && run cargo build --release --locked -p "fleetgate-$part") || fail "the build failed, see above"
  target=$(cd "$here/.." && cargo metadata --format-version 1 --no-deps --offline \
    | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  binary=$target/release/$program
}

# Writes the master key into the template, so that no installation starts with a known one.
gateway_environment() {
  (
    umask 077
    secret=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    sed "s|^LITELLM_MASTER_KEY=.*|LITELLM_MASTER_KEY=sk-$secret|" "$here/gateway.example.env" >"$work/gateway.env"
  )
}

systemd_service() {
  unit=fleetgate-$part.service
  source=$here/systemd/$unit
  control=systemctl
  if [ "$scope" = user ]; then
    source=$here/systemd/user/$unit
    control='systemctl --user'
  fi
  sed -e "s|/usr/local/bin/|$prefix/bin/|" -e "s|%h/.local/bin/|$prefix/bin/|" "$source" >"$work/unit"
  own 0644 "$work/unit" "$services/$unit"
  record "unit $unit"
  # Left off: whoever wants it enables it.
  socket=fleetgate-$part.socket
  if [ -f "${source%.service}.socket" ]; then
    own 0644 "${source%.service}.socket" "$services/$socket"
    record "unit $socket"
  fi
  if [ -n "$root" ] || [ ! -d /run/systemd/system ]; then
    printf '\nsystemd was left alone. Where it runs: %s daemon-reload && %s enable --now %s\n' "$control" "$control" "$unit"
    return
  fi
  # shellcheck disable=SC2086 # two words on purpose
  {
    run $control daemon-reload
    run $control enable "$unit"
    run $control try-restart "$unit"
  }
  printf '\nThe service is enabled. When its configuration is right: %s start %s\n' "$control" "$unit"
  [ $scope = system ] || printf 'On a machine where nobody logs in, also: loginctl enable-linger\n'
}

launchd_service() {
  label=dev.fleetgate.$part
  sed -e "s|@BIN@|$prefix/bin|" -e "s|@CONFIG@|$config|" -e "s|@LOGS@|$HOME/Library/Logs|" \
    "$here/launchd/$label.plist" >"$work/plist"
  own 0644 "$work/plist" "$services/$label.plist"
  printf '\nStart it with: launchctl bootstrap gui/%s "%s"\n' "$(id -u)" "$services/$label.plist"
}

if [ "$scope" = system ] && [ -z "$root$dry" ] && [ "$(id -u)" -ne 0 ]; then
  fail "installing for the whole machine needs root: use sudo, or --user for yourself alone"
fi
[ -n "$binary" ] || build
[ -n "$dry" ] || [ -f "$binary" ] || fail "$binary does not exist"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
# What an earlier installation put here and still is not ours to overwrite stays on the list.
manifest=$prefix/share/fleetgate/installed-$part
grep -E '^(config|account) ' "$root$manifest" >"$work/manifest" 2>/dev/null || :

if [ "$part" = gateway ] && [ "$scope" = system ] && [ -z "$root" ] && ! id fleetgate >/dev/null 2>&1; then
  command -v useradd >/dev/null || fail "there is no useradd: create the system account 'fleetgate' and run this again"
  run useradd --system --user-group --no-create-home --home-dir "$state" --shell /usr/sbin/nologin fleetgate
  record "account fleetgate"
fi

own_directory "$prefix/share/fleetgate"
own_directory "$config"
own 0755 "$binary" "$prefix/bin/$program"
if [ "$part" = gateway ]; then
  gateway_environment
  keep 0600 "$work/gateway.env" "$config/gateway.env"
  sed "s|/var/lib/fleetgate|$state|" "$here/config.example.yaml" >"$work/config.yaml"
  keep 0640 "$work/config.yaml" "$config/config.yaml"
  # The service reads it, other people need not: configurations brought from LiteLLM often hold keys.
  if [ "$scope" = system ] && [ -z "$root" ]; then run chown root:fleetgate "$config/config.yaml"; fi
  [ "$scope" = system ] || run mkdir -p "$root$state"
  record "state $state"
else
  own 0644 "$here/../shell/fleetgate.sh" "$prefix/share/fleetgate/fleetgate.sh"
  own 0644 "$here/../shell/fleetgate.fish" "$prefix/share/fleetgate/fleetgate.fish"
  key=credential:host-key
  [ "$scope" = system ] || key=file:host.key
  sed "s|credential:host-key|$key|" "$here/hosts.example.toml" >"$work/hosts.toml"
  keep 0644 "$work/hosts.toml" "$config/hosts.toml"
  sidecar_environment >"$work/sidecar.env"
  keep 0644 "$work/sidecar.env" "$config/sidecar.env"
  record "config - $config/host.key"
fi
if [ "$system" = Darwin ]; then launchd_service; else systemd_service; fi
record "file $manifest"
[ -n "$dry" ] || cp "$work/manifest" "$root$manifest"

if [ "$part" = gateway ]; then
  printf 'Next: provider keys into %s/gateway.env, models and the listening address into %s/config.yaml.\n' "$config" "$config"
else
  printf 'Next: the gateway into %s/sidecar.env, this machine'\''s virtual key into %s/host.key (mode 0600):\n' "$config" "$config"
  printf '  FLEETGATE_ADMIN_KEY=… fleetgate keys create --gateway URL --alias vk-HOST --host HOST --out %s/host.key\n' "$config"
  if [ "$scope" = system ] && ! grep -q '^FLEETGATE_ALLOW_USERS=.' "$root$config/sidecar.env" 2>/dev/null; then
    printf 'Only root may use it so far: name the users that your services run as in %s/sidecar.env,\n' "$config"
    printf '  FLEETGATE_ALLOW_USERS=alice,hermes\n'
  fi
  printf 'Launchers, in .bashrc or .zshrc: . %s/share/fleetgate/fleetgate.sh\n' "$prefix"
fi
