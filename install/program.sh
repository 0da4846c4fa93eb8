# shellcheck shell=sh disable=SC2154,SC2034
# Which program is installed, read by install.sh: from an archive, a file, or the source. All of it ends with `binary` set.

# checked ARCHIVE: its sum must be that of ARCHIVE.sha256 or of the line in SHA256SUMS beside it.
checked() {
  name=$(basename "$1")
  beside=$(dirname "$1")
  sums=
  for file in "$1.sha256" "$beside/SHA256SUMS"; do
    if [ -z "$sums" ] && [ -f "$file" ]; then sums=$file; fi
  done
  [ -n "$sums" ] || fail "there is neither $name.sha256 nor SHA256SUMS beside $1: download it from where the archive is, so that it can be checked"
  expected=$(awk -v name="$name" '{ sub(/^\*/, "", $2) } $2 == name || NF == 1 { print tolower($1); exit }' "$sums")
  [ -n "$expected" ] || fail "$sums has no line for $name"
  if command -v sha256sum >/dev/null; then
    sum=$(sha256sum <"$1")
  elif command -v shasum >/dev/null; then
    sum=$(shasum -a 256 <"$1")
  else
    fail "neither sha256sum nor shasum is here, so $name cannot be checked"
  fi
  [ "${sum%% *}" = "$expected" ] || fail "$name is not what $sums says: it was damaged or changed. Nothing was installed; download both again"
}

# Everything is taken from the archive then, also the service files: they belong to the program.
unpack() {
  [ -f "$archive" ] || fail "$archive does not exist"
  checked "$archive"
  # Nothing may land anywhere else than in its own directory.
  tar -tzf "$archive" >"$work/names" || fail "$archive cannot be read, see above. Nothing was installed"
  if grep -q -v -e '^fleetgate-[^/]*/' "$work/names" || grep -q -e '\(^\|/\)\.\.\(/\|$\)' "$work/names"; then
    fail "$archive is none of Fleetgate's: there are paths in it which lead outside. Nothing was installed"
  fi
  mkdir "$work/archive"
  tar -xzf "$archive" -C "$work/archive" || fail "$archive cannot be unpacked, see above"
  for directory in "$work/archive"/fleetgate-*; do here=$directory/install; done
  binary=$here/../bin/$program
  { [ -f "$binary" ] && [ -d "$here/systemd" ]; } || fail "$archive is none of Fleetgate's: bin/$program or install/ is missing in it"
}

# How this system brings a package, for messages.
package_command() {
  release=/etc/os-release
  if [ -n "$root" ] && [ -f "$root$release" ]; then release=$root$release; fi
  family=$(sed -n 's/^ID=//p; s/^ID_LIKE=//p' "$release" 2>/dev/null | tr '\n"' '  ')
  case "$system $family" in
    Darwin*) printf 'xcode-select --install' ;;
    *debian* | *ubuntu* | *raspbian*) printf 'sudo apt-get install %s' "$1" ;;
    *fedora* | *rhel*) printf 'sudo dnf install %s' "$2" ;;
    *arch*) printf 'sudo pacman -S --needed %s' "$3" ;;
    *) printf "your system's package manager (%s)" "$1" ;;
  esac
}

build() {
  command -v cargo >/dev/null \
    || fail "cargo is not on PATH. Rust comes with: $(package_command rustup rustup rustup), then 'rustup default stable'; or from
  https://rustup.rs. Or build as yourself with 'cargo build --release --locked -p fleetgate-$part', then run this again with
  --binary target/release/$program"
  command -v cc >/dev/null \
    || fail "there is no C compiler (cc). It comes with: $(package_command build-essential gcc base-devel)"
  needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/../Cargo.toml")
  found=$(cargo --version | awk '{ print $2 }')
  if older "$found" "$needed.0"; then
    fail "Rust $found is too old, $needed is needed: rustup update stable. A system's own package of Rust may be older; https://rustup.rs has the newest"
  fi
  (cd "$here/.." && run cargo build --release --locked -p "fleetgate-$part") || fail "the build failed, see above"
  target=$(cd "$here/.." && cargo metadata --format-version 1 --no-deps --offline \
    | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  binary=$target/release/$program
}

find_program() {
  if [ -n "$archive" ]; then
    unpack
  elif [ -z "$binary" ] && [ -f "$here/../bin/$program" ]; then
    # This script lies in an unpacked archive.
    binary=$here/../bin/$program
  elif [ -z "$binary" ]; then
    build
  fi
  [ -f "$binary" ] || [ -n "$dry" ] || fail "$binary does not exist"
}

# version_of PROGRAM: `NAME VERSION` is what --version prints. Nothing when it does not run here.
version_of() {
  { "$1" --version 2>/dev/null || :; } | awk 'NR == 1 { print $2 }'
}

# older A B: by the rules of Semantic Versioning, where 1.0.0-rc.2 comes before 1.0.0.
older() {
  awk -v a="$1" -v b="$2" '
    function compare(x, y) {
      if (x ~ /^[0-9]+$/ && y ~ /^[0-9]+$/) return x + 0 < y + 0 ? -1 : x + 0 > y + 0
      if (x ~ /^[0-9]+$/) return -1
      if (y ~ /^[0-9]+$/) return 1
      return x "" < y "" ? -1 : x "" > y ""
    }
    function lists(x, y, p, q, m, n, i, c) {
      m = split(x, p, "."); n = split(y, q, ".")
      for (i = 1; i <= m && i <= n; i++) if ((c = compare(p[i], q[i])) != 0) return c
      return m < n ? -1 : m > n
    }
    BEGIN {
      sub(/\+.*/, "", a); sub(/\+.*/, "", b)
      pa = index(a, "-") ? substr(a, index(a, "-") + 1) : ""
      pb = index(b, "-") ? substr(b, index(b, "-") + 1) : ""
      sub(/-.*/, "", a); sub(/-.*/, "", b)
      c = lists(a, b)
      if (c == 0) c = pa == pb ? 0 : pa == "" ? 1 : pb == "" ? -1 : lists(pa, pb)
      exit c < 0 ? 0 : 1
    }'
}

# Which of a release's archives is for this machine, for messages. A Raspberry Pi says aarch64 where its kernel has 64 bits, and these
# programs need nothing else of it.
archive_for_here() {
  case $system:$(uname -m) in
    Linux:x86_64) triple=x86_64-unknown-linux-musl ;;
    Linux:aarch64 | Linux:arm64) triple=aarch64-unknown-linux-musl ;;
    Darwin:x86_64) triple=x86_64-apple-darwin ;;
    Darwin:arm64) triple=aarch64-apple-darwin ;;
    *) triple='' ;;
  esac
  if [ -n "$triple" ]; then
    printf 'Its archive is fleetgate-VERSION-%s.tar.gz' "$triple"
  else
    printf 'There is no archive for it: install from the source'
  fi
}

# Says what runs here, refuses what does not, and refuses to go back.
check_version() {
  [ -f "$binary" ] || return 0
  runs=yes
  [ -x "$binary" ] || {
    cp "$binary" "$work/program"
    chmod 0755 "$work/program"
    binary=$work/program
  }
  version=$(version_of "$binary")
  if [ -z "$version" ]; then
    runs=
    [ -n "$root" ] || fail "$binary does not run on this machine ($system, $(uname -m)): it was built for another, or lies where programs
  may not run (then set TMPDIR to another directory). $(archive_for_here)"
    printf 'The program does not run on this machine: its version is not compared, and its completions and man pages are left out.\n'
    return 0
  fi
  before=$(sed -n 's/^version //p' "$root$manifest" 2>/dev/null || :)
  if [ -z "$before" ] && [ -x "$root$prefix/bin/$program" ]; then before=$(version_of "$root$prefix/bin/$program"); fi
  [ -n "$before" ] || return 0
  if older "$version" "$before"; then
    risk='the older program may refuse what the newer one wrote'
    [ "$part" = sidecar ] || risk='the older gateway may refuse to open the ledger that the newer one has changed; make a backup first'
    [ -n "$downgrade" ] || fail "$program $before is installed, and this is the older $version: $risk.
  Nothing was changed; --allow-downgrade installs it all the same"
    printf 'From %s back to %s: %s.\n' "$before" "$version" "$risk"
  elif [ "$before" != "$version" ]; then
    printf 'Upgrade from %s to %s.\n' "$before" "$version"
  fi
}
