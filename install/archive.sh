#!/bin/sh
# Packs built programs into a release's archive: both programs, their pages, the shell block and the installer with its service files.
# Prints the archive's name; FILE.sha256 stands beside it. The same files make the same archive.
set -eu
umask 022

usage() {
  cat <<'EOF'
usage: install/archive.sh --output DIR [--profile NAME] [--target TRIPLE]

  --profile NAME   the profile that the programs were built with (default release)
  --target TRIPLE  the target they were built for, if one was named
EOF
}

fail() {
  printf 'archive: %s\n' "$*" >&2
  exit 1
}

profile=release output='' target=''
while [ $# -gt 0 ]; do
  case $1 in
    --profile | --output | --target)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case $1 in
        --profile) profile=$2 ;;
        --output) output=$2 ;;
        --target) target=$2 ;;
      esac
      shift
      ;;
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
cd "$here/.."
programs=$(built_programs . "$profile" "$target")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
triple=${target:-$(rustc -vV | sed -n 's/^host: //p')}
name=fleetgate-$version-$triple

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
top=$work/$name
mkdir -p "$top/bin" "$output"
for program in fleetgate fleetgate-gateway; do
  [ -x "$programs/$program" ] || fail "$programs/$program does not exist: build it first"
  cp "$programs/$program" "$top/bin/"
  write_pages "$programs/$program" "$top/share/$program"
done
cp -R shell docs README.md CHANGELOG.md LICENSE LICENSE-APACHE LICENSE-MIT "$top/"
# The installer and what it places; not what builds archives and packages.
mkdir "$top/install"
for file in install.sh uninstall.sh places.sh manifest.sh program.sh services.sh systemd sysusers.d launchd \
  config.example.yaml gateway.example.env hosts.example.toml; do
  cp -R "install/$file" "$top/install/"
done

archive=$name.tar.gz
(
  cd "$work"
  # Whose files these were and when they were built is nobody's business. Only GNU's tar can leave it out.
  if tar --version 2>/dev/null | grep -q GNU; then
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@"${SOURCE_DATE_EPOCH:-0}" -cf - "$name"
  else
    # macOS would put files of its own beside each.
    COPYFILE_DISABLE=1 tar -cf - "$name"
  fi
) | gzip -n >"$output/$archive"
(
  cd "$output"
  if command -v sha256sum >/dev/null; then sha256sum "$archive"; else shasum -a 256 "$archive"; fi >"$archive.sha256"
)
printf '%s\n' "$output/$archive"
