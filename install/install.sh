#!/bin/sh
# Installs the gateway or the sidecar on this machine. Run it again to upgrade: configuration is never overwritten.
set -eu
umask 022

usage() {
  cat <<'EOF'
usage: install/install.sh gateway|sidecar [option…]

  --archive FILE     install from a release's archive, after a look at its sum (FILE.sha256 or SHA256SUMS beside it)
  --binary FILE      install this program; without either, the one beside this script in an unpacked archive, else cargo builds it
  --prefix DIR       where bin/ and share/ are (default /usr/local; with --user ~/.local)
  --user             for this person only, without root: the sidecar, and on macOS the gateway too
  --root DIR         put every file below DIR, and leave accounts and services alone (for packages and tests)
  --allow-downgrade  install an older version over a newer one
  --dry-run          print what would be done and change nothing
EOF
}

fail() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}

# shellcheck disable=SC2034 # some of them are read by the files beside this one
part='' archive='' binary='' prefix='' root='' scope=system dry='' downgrade='' version='' runs=''
while [ $# -gt 0 ]; do
  case $1 in
    gateway | sidecar) part=$1 ;;
    --archive | --binary | --prefix | --root)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case $1 in
        --archive) archive=$2 ;;
        --binary) binary=$2 ;;
        --prefix) prefix=$2 ;;
        --root) root=${2%/} ;;
      esac
      shift
      ;;
    --user) scope=user ;;
    --allow-downgrade) downgrade=yes ;;
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
[ -z "$archive" ] || [ -z "$binary" ] || fail "--archive and --binary exclude each other"

here=$(cd "$(dirname "$0")" && pwd)
system=$(uname -s)
config='' state='' sidecar_state='' completions_bash='' completions_zsh='' completions_fish='' man_pages=''
# shellcheck source=install/places.sh
. "$here/places.sh"
# shellcheck source=install/manifest.sh
. "$here/manifest.sh"
# shellcheck source=install/program.sh
. "$here/program.sh"
# shellcheck source=install/services.sh
. "$here/services.sh"

case $part in
  gateway) program=fleetgate-gateway ;;
  sidecar) program=fleetgate ;;
esac
manifest=$prefix/share/fleetgate/installed-$part

# Does a command, or says what it would do.
run() {
  if [ -n "$dry" ]; then
    printf 'would run: %s\n' "$*"
  else
    "$@"
  fi
}

# place MODE SOURCE TARGET: in one step, so that a running program keeps its old file and nobody sees half a new one.
place() {
  printf '%s\n' "$3"
  own_parents "$(dirname "$3")"
  # Some of these files hold a secret: nobody may read them before their mode is set.
  (umask 077 && run cp "$2" "$root$3.new")
  run chmod "$1" "$root$3.new"
  run mv -f "$root$3.new" "$root$3"
}

# Directories that were not there are ours to remove.
own_parents() {
  if [ "$1" = / ] || [ -d "$root$1" ]; then return; fi
  own_directory "$1"
}

# A file that an upgrade may replace.
own() {
  record "file $3"
  place "$@"
}

# A file that belongs to the administrator as soon as it is there.
keep() {
  if [ -e "$root$3" ]; then
    printf '%s (kept as it is)\n' "$3"
    return
  fi
  # uninstall.sh compares this sum to tell whether the file was ever edited.
  record_config "$(cksum <"$2" | tr ' ' ':')" "$3"
  place "$@"
}

own_directory() {
  own_parents "$(dirname "$1")"
  record "directory $1"
  [ -d "$root$1" ] || run mkdir -p "$root$1"
}

# Where the gateway is and, on a server, who may spend: the service has an account of its own, so everybody else is another user.
sidecar_environment() {
  printf '# Read by the service. Where the gateway is, if this machine was not enrolled (fleetgate enroll):\n'
  printf '#FLEETGATE_GATEWAY=http://GATEWAY:4000\n'
  [ "$scope" = system ] || return 0
  allowed=${SUDO_USER-}
  [ "$allowed" != root ] || allowed=''
  printf '# Which users of this machine may use the sidecar, besides root, by name and separated by commas; * is everyone:\n'
  printf 'FLEETGATE_ALLOW_USERS=%s\n' "$allowed"
}

# Writes the master key into the template, so that no installation starts with a known one.
gateway_environment() {
  (
    umask 077
    secret=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    sed "s|^LITELLM_MASTER_KEY=.*|LITELLM_MASTER_KEY=sk-$secret|" "$here/gateway.example.env" >"$work/gateway.env"
  )
}

# Completions and man pages come out of the program itself.
pages() {
  [ -n "$runs" ] || return 0
  mkdir "$work/pages"
  for shell in bash zsh fish; do "$binary" completions "$shell" >"$work/pages/$shell"; done
  own 0644 "$work/pages/bash" "$completions_bash/$program"
  own 0644 "$work/pages/zsh" "$completions_zsh/_$program"
  own 0644 "$work/pages/fish" "$completions_fish/$program.fish"
  "$binary" man --directory "$work/pages/man"
  for page in "$work/pages/man"/*.1; do own 0644 "$page" "$man_pages/$(basename "$page")"; done
}

gateway_files() {
  gateway_environment
  keep 0600 "$work/gateway.env" "$config/gateway.env"
  sed "s|/var/lib/fleetgate|$state|" "$here/config.example.yaml" >"$work/config.yaml"
  keep 0640 "$work/config.yaml" "$config/config.yaml"
  # The service reads it, other people need not: configurations brought from LiteLLM often hold keys.
  if [ "$scope" = system ] && [ -z "$root" ]; then run chown root:fleetgate "$config/config.yaml"; fi
  record "state $state"
  [ "$scope" = system ] || run mkdir -p "$root$state"
}

sidecar_files() {
  for file in "$here"/../shell/*.sh "$here"/../shell/*.fish "$here"/../shell/*.toml; do
    [ ! -f "$file" ] || own 0644 "$file" "$prefix/share/fleetgate/$(basename "$file")"
  done
  keep 0644 "$here/hosts.example.toml" "$config/hosts.toml"
  sidecar_environment >"$work/sidecar.env"
  keep 0644 "$work/sidecar.env" "$config/sidecar.env"
  # What `fleetgate enroll` leaves.
  record "config - $config/host.key"
  record "config - $config/enrolment.toml"
  if [ "$scope" = system ]; then
    record "state $sidecar_state"
  else
    record "config - $sidecar_state/host-label"
    record "directory $sidecar_state"
  fi
}

next_steps() {
  if [ "$part" = gateway ]; then
    printf 'Next: provider keys into %s/gateway.env, models and the listening address into %s/config.yaml.\n' "$config" "$config"
    return
  fi
  sudo=$([ "$scope" = user ] || printf 'sudo ')
  printf 'Next, each once:\n'
  printf "  %sfleetgate enroll http://GATEWAY:4000 --token -   # this machine's key, with an invitation (fleetgate keys invite)\n" "$sudo"
  printf '  fleetgate shell install                           # the launchers, in your shell\n'
  if [ "$scope" = system ] && ! grep -q '^FLEETGATE_ALLOW_USERS=.' "$root$config/sidecar.env" 2>/dev/null; then
    printf 'Only root may use it so far: name the users that your services run as in %s/sidecar.env,\n' "$config"
    printf '  FLEETGATE_ALLOW_USERS=alice,hermes\n'
  fi
  case :${PATH-}: in
    *:"$prefix/bin":*) ;;
    *) printf '%s/bin is not on your PATH.\n' "$prefix" ;;
  esac
  # zsh alone has no place of its own there.
  [ "$scope" = system ] || printf 'For completions in zsh, before compinit: fpath+=(%s)\n' "$completions_zsh"
}

if [ "$scope" = system ] && [ -z "$root$dry" ] && [ "$(id -u)" -ne 0 ]; then
  fail "installing for the whole machine needs root: use sudo, or --user for yourself alone"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
find_program
check_version

begin_manifest
[ -z "$version" ] || record "version $version"
gateway_account
own_directory "$prefix/share/fleetgate"
own_directory "$config"
own 0755 "$binary" "$prefix/bin/$program"
pages
if [ "$part" = gateway ]; then gateway_files; else sidecar_files; fi
record "file $manifest"
if [ "$system" = Darwin ]; then launchd_service; else systemd_service; fi
finish_manifest
next_steps
