# shellcheck shell=sh
# Completions and man pages out of a built program; read by archive.sh and packages.sh.

# built_programs WORKSPACE PROFILE TARGET: the directory that cargo has put them into.
built_programs() {
  case $2 in
    dev) directory=debug ;;
    *) directory=$2 ;;
  esac
  all=$(cd "$1" && cargo metadata --format-version 1 --no-deps --offline \
    | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  printf '%s/%s%s\n' "$all" "${3:+$3/}" "$directory"
}

# write_pages PROGRAM DIRECTORY: files bash, zsh, fish, and man/*.1. Where the program is one for another machine, PAGES_FROM names a
# directory with the same programs for this one.
write_pages() {
  runs=${PAGES_FROM:+$PAGES_FROM/${1##*/}}
  runs=${runs:-$1}
  rm -rf "$2"
  mkdir -p "$2"
  for shell in bash zsh fish; do "$runs" completions "$shell" >"$2/$shell"; done
  "$runs" man --directory "$2/man"
}
