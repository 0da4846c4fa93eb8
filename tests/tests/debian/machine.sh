#!/bin/sh
# Run by install_debian.rs inside a fresh Debian, as root: $1 is the older version of the packages, $2 the newer. /packages/VERSION holds
# each. The last line is `done`; before a step, its name.
set -eu
exec 2>&1

step() {
  echo "step: $*"
}

# What the tools of packages and accounts keep for themselves: logs, caches, lists, copies of what they changed.
tree() {
  find / -xdev \( -path /packages -o -path /tmp -o -path /proc -o -path /dev \) -prune -o -print | sort \
    | grep -v -e '^/etc/[a-z]*-$' -e '^/etc/.pwd.lock$' -e '^/var/log/' -e '^/var/cache/apt' -e '^/var/lib/apt' -e '^/var/cache/man/' \
      -e '^/var/lib/dpkg/[a-z]*-old$' -e '^/var/lib/dpkg/lock' -e '^/var/lib/dpkg/triggers/'
}

answers() {
  curl -sSf --noproxy '*' --max-time 10 --retry 300 --retry-connrefused --retry-delay 1 "$@"
}

refuses() {
  if "$@" >/tmp/refused 2>&1; then
    cat /tmp/refused
    return 1
  fi
}

state_of() {
  dpkg-query -W -f '${db:Status-Status} ${Version}' "$1"
}

apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get -qqy -o Dpkg::Use-Pty=0 "$@"
}

# By hand what the units do: there is no systemd here.
start() {
  install -d -o fleetgate -g fleetgate -m 0700 /var/lib/fleetgate
  (
    set -a
    # shellcheck source=/dev/null # the package brings it
    . /etc/fleetgate/gateway.env
    exec setpriv --reuid fleetgate --regid fleetgate --clear-groups --no-new-privs \
      /usr/bin/fleetgate-gateway serve --config /etc/fleetgate/config.yaml
  ) >/tmp/gateway.log 2>&1 &
  gateway=$!
  answers http://127.0.0.1:4100/health/liveliness >/dev/null
}

use_it() {
  # The account of the service is made for as long as it runs; it gets a copy of the key.
  install -d -o 61234 -m 0700 /tmp/credentials /tmp/state
  install -o 61234 -m 0400 /etc/fleetgate/host.key /tmp/credentials/host-key
  (
    set -a
    # shellcheck source=/dev/null
    . /etc/fleetgate/sidecar.env
    # shellcheck disable=SC2034 # exported by set -a
    CREDENTIALS_DIRECTORY=/tmp/credentials STATE_DIRECTORY=/tmp/state CONFIGURATION_DIRECTORY=/etc/fleetgate
    exec setpriv --reuid 61234 --regid 61234 --clear-groups --no-new-privs /usr/bin/fleetgate sidecar
  ) >/tmp/sidecar.log 2>&1 &
  sidecar=$!
  answers http://127.0.0.1:4000/__fleetgate/health >/dev/null
  answers http://127.0.0.1:4000/v1/chat/completions -H 'content-type: application/json' \
    -d '{"model":"mock","messages":[{"role":"user","content":"hello"}]}' | grep -q choices
  rows=$(FLEETGATE_ADMIN_KEY=$(master_key) fleetgate logs --gateway http://127.0.0.1:4100 --json | grep -c '"mock"')
  kill "$sidecar" "$gateway"
  wait "$sidecar" "$gateway" || :
}

master_key() {
  sed -n 's/^LITELLM_MASTER_KEY=//p' /etc/fleetgate/gateway.env
}

old=$1 new=$2
apt_get check
tree >/tmp/before

step install
apt_get install /packages/"$old"/*.deb
for package in fleetgate fleetgate-gateway; do
  [ "$(state_of $package)" = "installed $old" ]
  [ -z "$(dpkg --verify $package)" ]
  dpkg --listfiles $package | while read -r path; do [ -e "$path" ]; done
done
getent passwd fleetgate | grep -q ':/var/lib/fleetgate:/usr/sbin/nologin$'
[ "$(stat -c '%U:%G %a' /etc/fleetgate/config.yaml)" = 'root:fleetgate 640' ]
[ "$(stat -c '%U:%G %a' /etc/fleetgate/gateway.env)" = 'root:root 600' ]
master_key | grep -qx 'sk-[0-9a-f]\{48\}'
for unit in gateway.service sidecar.service sidecar.socket; do [ -f /usr/lib/systemd/system/fleetgate-$unit ]; done
# Whoever has configured them starts them.
[ -z "$(find /etc/systemd -name 'fleetgate*')" ]
MANPAGER=cat MANWIDTH=100 man fleetgate-gateway-serve | grep -q -- --config
for program in fleetgate fleetgate-gateway; do
  $program --version | grep -qF " ${old%-*}"
  # As an interactive bash would: the package bash-completion loads it at the first TAB.
  bash -c ". /usr/share/bash-completion/bash_completion; _completion_loader $program; complete -p $program"
done

step use
start
printf '%s' "$(FLEETGATE_ADMIN_KEY=$(master_key) fleetgate keys invite --gateway http://127.0.0.1:4100 | grep -o 'fgi_[A-Za-z0-9_-]*' | head -n 1)" \
  | fleetgate enroll http://127.0.0.1:4100 --token -
use_it
[ "$rows" = 1 ]

step upgrade
echo '# mine' >>/etc/fleetgate/config.yaml
echo '# mine' >>/etc/fleetgate/hosts.toml
cp -p /etc/fleetgate/gateway.env /tmp/gateway.env
apt_get install /packages/"$new"/*.deb
for package in fleetgate fleetgate-gateway; do [ "$(state_of $package)" = "installed $new" ]; done
grep -q '^# mine' /etc/fleetgate/config.yaml
grep -q '^# mine' /etc/fleetgate/hosts.toml
cmp /etc/fleetgate/gateway.env /tmp/gateway.env
[ "$(stat -c '%U:%G %a' /etc/fleetgate/config.yaml)" = 'root:fleetgate 640' ]
start
use_it
[ "$rows" = 2 ]

step 'go back'
find /etc/fleetgate /var/lib/fleetgate -type f -exec cksum {} + | sort >/tmp/sums
for package in /packages/"$old"/*.deb; do
  refuses dpkg --install "$package"
  grep -q "$new was installed here, and this is the older $old" /tmp/refused
  grep -q FLEETGATE_ALLOW_DOWNGRADE /tmp/refused
done
refuses apt_get install --allow-downgrades /packages/"$old"/*.deb
for package in fleetgate fleetgate-gateway; do [ "$(state_of $package)" = "installed $new" ]; done
[ -z "$(dpkg --audit)" ]
find /etc/fleetgate /var/lib/fleetgate -type f -exec cksum {} + | sort | cmp - /tmp/sums

step remove
apt_get remove fleetgate fleetgate-gateway
[ ! -e /usr/bin/fleetgate ] && [ ! -e /usr/bin/fleetgate-gateway ]
for package in fleetgate fleetgate-gateway; do [ "$(state_of $package)" = "config-files $new" ]; done
find /etc/fleetgate /var/lib/fleetgate -type f -exec cksum {} + | sort | cmp - /tmp/sums
# The state of the newer one is still there.
refuses dpkg --install /packages/"$old"/fleetgate-gateway_*.deb
[ "$(state_of fleetgate-gateway)" = "config-files $new" ]

step 'come back'
apt_get install /packages/"$new"/*.deb
start
use_it
[ "$rows" = 3 ]
FLEETGATE_ALLOW_DOWNGRADE=yes apt_get install --allow-downgrades /packages/"$old"/*.deb
[ "$(state_of fleetgate)" = "installed $old" ]

step purge
apt_get purge fleetgate fleetgate-gateway
refuses getent passwd fleetgate
refuses getent group fleetgate
tree >/tmp/after
diff /tmp/before /tmp/after
echo 'done'
