# shellcheck shell=sh disable=SC2154
# The list of what is installed, read by install.sh. It is written before each step, so that an installation that is cut off can be
# finished or taken back. Lines: `file PATH`, `config SUM PATH`, `directory PATH`, `unit NAME`, `state PATH`, `account NAME`, `linger
# NAME`, `version NUMBER`, and `unfinished` until the end.

# What an earlier installation put here stays on the list until this one is through.
begin_manifest() {
  [ -z "$dry" ] || return 0
  # Directories are made before the list that names them is.
  directory=$prefix/share
  : >"$work/directories"
  while [ "$directory" != / ] && [ ! -d "$root$directory" ]; do
    printf '%s\n' "$directory" >>"$work/directories"
    directory=$(dirname "$directory")
  done
  mkdir -p "$root$prefix/share/fleetgate"
  if [ -e "$root$manifest" ]; then
    if grep -qx unfinished "$root$manifest"; then printf 'An earlier installation was cut off; it is finished now.\n'; fi
    cp "$root$manifest" "$work/before"
  else
    : >"$root$manifest"
    : >"$work/before"
  fi
  : >"$work/manifest"
  list unfinished
  while read -r directory; do record "directory $directory"; done <"$work/directories"
}

# list LINE: on the list that lies there, at once.
list() {
  grep -qxF -- "$1" "$root$manifest" || printf '%s\n' "$1" >>"$root$manifest"
}

record() {
  [ -z "$dry" ] || return 0
  list "$*"
  grep -qxF -- "$*" "$work/manifest" || printf '%s\n' "$*" >>"$work/manifest"
}

# recorded KIND NAME: whether an earlier installation made it.
recorded() {
  [ -z "$dry" ] && grep -qxF -- "$1 $2" "$work/before"
}

# A configuration file has one sum: that of the newest file which was put there.
record_config() {
  [ -z "$dry" ] || return 0
  awk -v path="$2" '!($1 == "config" && substr($0, length($1 $2) + 3) == path)' "$root$manifest" >"$work/list"
  cp "$work/list" "$root$manifest"
  record "config $1 $2"
}

# Files of the version before that this one no longer has go; configuration, accounts and state stay on the list.
finish_manifest() {
  [ -z "$dry" ] || return 0
  grep -E '^(config|account|state|linger|directory) ' "$root$manifest" | while read -r line; do
    grep -qxF -- "$line" "$work/manifest" || printf '%s\n' "$line" >>"$work/manifest"
  done
  sed -n 's/^file //p' "$work/before" | while read -r old; do
    grep -qxF -- "file $old" "$work/manifest" || rm -f "$root$old"
  done
  cp "$work/manifest" "$root$manifest.new"
  mv -f "$root$manifest.new" "$root$manifest"
}
