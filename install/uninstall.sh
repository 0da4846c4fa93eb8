#!/bin/sh
# Removes what install.sh installed. Files that were edited since, keys and the ledger stay unless --purge is given.
set -eu

usage() {
  cat <<'EOF'
usage: install/uninstall.sh [gateway|sidecar] [option…]      (without a name: both)

  --purge         also remove edited configuration, keys, the ledger and the account
  --prefix DIR, --user, --root DIR
                  as they were given to install.sh
  --dry-run       print what would be done and change nothing
EOF
}

fail() {
  printf 'uninstall: %s\n' "$*" >&2
  exit 1
}

parts='' prefix='' root='' scope=system dry='' purge=''
while [ $# -gt 0 ]; do
  case $1 in
    gateway | sidecar) parts="$parts $1" ;;
    --prefix | --root)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case $1 in
        --prefix) prefix=$2 ;;
        --root) root=${2%/} ;;
      esac
      shift
      ;;
    --user) scope=user ;;
    --purge) purge=yes ;;
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

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck disable=SC2034 # places.sh reads it
system=$(uname -s)
part=${parts:-any}
# shellcheck source=/dev/null # it only settles the prefix here
. "$here/places.sh"

if [ "$scope" = system ] && [ -z "$root$dry" ] && [ "$(id -u)" -ne 0 ]; then
  fail "what was installed for the whole machine needs root to be removed: use sudo"
fi

run() {
  if [ -n "$dry" ]; then
    printf 'would run: %s\n' "$*"
  else
    "$@"
  fi
}

stop_service() {
  [ -z "$root" ] && [ -d /run/systemd/system ] || return 0
  control=systemctl
  [ "$scope" = user ] && control='systemctl --user'
  # shellcheck disable=SC2086 # two words on purpose
  run $control disable --quiet --now "$1" || :
}

stop_agent() {
  [ -z "$root" ] || return 0
  domain=gui/$(id -u)
  if launchctl print "$domain/$1" >/dev/null 2>&1; then run launchctl bootout "$domain/$1" || :; fi
}

# It was off before we came.
stop_lingering() {
  [ -z "$root" ] || return 0
  printf 'Services of %s end again when %s logs out.\n' "$1" "$1"
  run loginctl disable-linger "$1" || :
}

# systemd keeps the directory of a service without an account of its own behind a link.
remove_state() {
  # A damaged list must never remove anything else.
  case $1 in /*fleetgate*) ;; *) fail "no state directory of ours: '$1' in the list of installed files" ;; esac
  for directory in "$root${1%/*}/private/${1##*/}" "$root$1"; do
    if [ -n "$purge" ]; then
      [ ! -e "$directory" ] || run rm -rf "$directory"
    elif [ -d "$directory" ] && [ ! -L "$directory" ]; then
      rmdir_if_empty "$directory"
      [ -n "$dry" ] || [ ! -d "$directory" ] || printf 'kept: %s\n' "${directory#"$root"}"
    fi
  done
  if [ -L "$root$1" ] && [ ! -d "$root$1" ]; then run rm -f "$root$1"; fi
}

# remove_config SUM FILE: an untouched file is ours, an edited one is the administrator's.
remove_config() {
  run rm -f "$root$2.new"
  [ -e "$root$2" ] || return 0
  if [ -n "$purge" ] || [ "$(cksum <"$root$2" | tr ' ' ':')" = "$1" ]; then
    run rm -f "$root$2"
  else
    printf 'kept: %s\n' "$2"
  fi
}

# What stays is still on a list: for --purge later, and for the next installation. Its account stays with it.
remember_kept() {
  while read -r kind rest; do
    case $kind in
      config) path=$root${rest#* } ;;
      state) path=$root$rest ;;
      *) continue ;;
    esac
    if [ -e "$path" ] || [ -e "${path%/*}/private/${path##*/}" ]; then printf '%s %s\n' "$kind" "$rest"; fi
  done <"$1" >"$list.kept"
  if [ -s "$list.kept" ]; then
    grep -E -e '^(account|directory|version) ' -e "^file $prefix/share/fleetgate/installed-" "$1" | cat "$list.kept" - >"$manifest"
    printf 'What was kept stands in %s; --purge removes it.\n' "${manifest#"$root"}"
    return
  fi
  [ -z "$root" ] || return 0
  sed -n 's/^account //p' "$1" | while read -r account; do userdel "$account"; done
}

# The order matters: what runs stops before its files go, and directories go last.
remove_part() {
  while read -r kind rest; do
    case $kind in
      unit) stop_service "$rest" ;;
      agent) stop_agent "$rest" ;;
    esac
  done <"$1"
  while read -r kind rest; do
    case $kind in
      # The second is there when an installation was cut off.
      file) run rm -f "$root$rest" "$root$rest.new" ;;
      config) remove_config "${rest%% *}" "${rest#* }" ;;
      state) remove_state "$rest" ;;
      linger) stop_lingering "$rest" ;;
      account) if [ -n "$purge" ] && [ -z "$root" ]; then run userdel "$rest"; fi ;;
    esac
  done <"$1"
  [ -n "$dry$purge" ] || remember_kept "$1"
  # What lies deeper goes first.
  sed -n 's/^directory //p' "$1" | sort -r | while read -r directory; do rmdir_if_empty "$root$directory"; done
}

rmdir_if_empty() {
  if [ -n "$dry" ]; then
    printf 'would run: rmdir %s (if it is empty)\n' "$1"
  else
    rmdir "$1" 2>/dev/null || :
  fi
}

list=$(mktemp)
trap 'rm -f "$list" "$list.directories" "$list.kept"' EXIT
trap 'exit 130' INT TERM HUP
found=
for part in ${parts:-gateway sidecar}; do
  manifest=$root$prefix/share/fleetgate/installed-$part
  if [ ! -e "$manifest" ]; then
    [ -z "$parts" ] || fail "$manifest does not exist: the $part was not installed here (was --prefix, --user or --root given?)"
    continue
  fi
  found=yes
  # The list is one of the files that go, so it is read from a copy.
  cp "$manifest" "$list"
  sed -n 's/^directory //p' "$list" >>"$list.directories"
  remove_part "$list"
  if [ -z "$dry" ]; then printf 'removed: %s\n' "$part"; fi
done
# What one part made and the other still uses goes with the other.
if [ -n "$found" ]; then
  sort -ru "$list.directories" | while read -r directory; do
    rmdir_if_empty "$root$directory"
    for other in "$root$prefix"/share/fleetgate/installed-*; do
      if [ -z "$dry" ] && [ -f "$other" ] && ! grep -qxF "directory $directory" "$other"; then
        printf 'directory %s\n' "$directory" >>"$other"
      fi
    done
  done
fi
if [ -z "$root" ] && [ -d /run/systemd/system ] && [ "$scope" = system ]; then run systemctl daemon-reload; fi
[ -n "$found" ] || fail "nothing was installed with the prefix $prefix (was --prefix, --user or --root given?)"
