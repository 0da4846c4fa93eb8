# shellcheck shell=sh disable=SC2154
# What starts the program, read by install.sh: systemd's units or launchd's agents, and the account of the gateway.

# The account is made before anything belongs to it. A system without systemd has no use for the units, but keeps them for reading.
gateway_account() {
  [ "$part" = gateway ] && [ "$scope" = system ] && [ -z "$root" ] || return 0
  if ! id fleetgate >/dev/null 2>&1; then
    record "account fleetgate"
    if command -v useradd >/dev/null; then
      run useradd --system --user-group --no-create-home --home-dir "$state" --shell /usr/sbin/nologin fleetgate
    elif command -v systemd-sysusers >/dev/null; then
      run systemd-sysusers "$here/sysusers.d/fleetgate-gateway.conf"
    elif command -v adduser >/dev/null; then
      # Busybox's.
      run adduser -S -D -H -h "$state" -s /sbin/nologin fleetgate
    else
      fail "there is neither useradd nor systemd-sysusers nor adduser: create the system account 'fleetgate' and run this again"
    fi
  elif recorded account fleetgate; then
    record "account fleetgate"
  fi
}

control() {
  if [ "$scope" = user ]; then systemctl --user "$@"; else systemctl "$@"; fi
}

install_units() {
  units=$here/systemd
  [ "$scope" = system ] || units=$here/systemd/user
  for unit in fleetgate-$part.service fleetgate-$part.socket; do
    [ -f "$units/$unit" ] || continue
    sed -e "s|/usr/bin/fleetgate|$prefix/bin/fleetgate|" "$units/$unit" >"$work/unit"
    own 0644 "$work/unit" "$services/$unit"
    record "unit $unit"
  done
}

# Services that belong to a person end when that person logs out, unless they linger.
linger() {
  command -v loginctl >/dev/null || return 0
  user=$(id -un)
  if [ "$(loginctl show-user "$user" --property=Linger --value 2>/dev/null)" = yes ]; then
    if recorded linger "$user"; then record "linger $user"; fi
    return 0
  fi
  if run loginctl enable-linger "$user" 2>/dev/null; then
    record "linger $user"
    printf 'The service also runs while %s is not logged in (loginctl disable-linger %s takes that back).\n' "$user" "$user"
  else
    printf 'The service ends when %s logs out. To keep it: sudo loginctl enable-linger %s\n' "$user" "$user"
  fi
}

systemd_service() {
  install_units
  who=$([ "$scope" = system ] || printf ' --user')
  names="fleetgate-$part.service"
  [ ! -f "$units/fleetgate-$part.socket" ] || names="fleetgate-$part.socket $names"
  if [ -n "$root" ] || [ ! -d /run/systemd/system ]; then
    printf '\nsystemd was left alone. Where it runs: systemctl%s daemon-reload && systemctl%s enable --now %s\n' "$who" "$who" "$names"
    return
  fi
  if [ "$scope" = user ] && ! systemctl --user show-environment >/dev/null 2>&1; then
    printf '\nYour service manager does not answer (sudo and su do not start it). Log in as %s, then:\n' "$(id -un)"
    printf '  systemctl --user daemon-reload && systemctl --user enable --now %s\n' "$names"
    linger
    return
  fi
  run control daemon-reload
  for unit in $names; do run control enable --quiet "$unit"; done
  # Nothing is started that did not run: it may have no configuration yet.
  run control try-restart "fleetgate-$part.service"
  printf '\nThe service is enabled. When its configuration is right: systemctl%s start %s\n' "$who" "$names"
  [ "$scope" = system ] || linger
}

launchd_service() {
  label=dev.fleetgate.$part
  sed -e "s|@BIN@|$prefix/bin|" -e "s|@CONFIG@|$config|" -e "s|@LOGS@|$HOME/Library/Logs|" \
    "$here/launchd/$label.plist" >"$work/plist"
  own 0644 "$work/plist" "$services/$label.plist"
  record "agent $label"
  record "file $HOME/Library/Logs/fleetgate-$part.log"
  domain=gui/$(id -u)
  if [ -z "$root$dry" ] && launchctl print "$domain/$label" >/dev/null 2>&1; then
    # It runs: it starts anew with the new program and the new settings of its service.
    launchctl bootout "$domain/$label" || :
    launchctl bootstrap "$domain" "$services/$label.plist"
    printf '\nThe service was started anew.\n'
  else
    printf '\nWhen its configuration is right: launchctl bootstrap %s "%s"\n' "$domain" "$services/$label.plist"
  fi
}
