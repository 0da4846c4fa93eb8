//! The installer as root on a machine of its own: a mount and network namespace whose only files are this machine's `/usr`, read-only.

#![allow(clippy::unwrap_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "a skipped test says so on stdout")]

use std::process::Command;

use fleetgate_tests::binaries::{binary, workspace};

/// `$1` is an empty directory, `$2` the workspace, `$3` and `$4` the programs. Each `step` is what the test finds it failed at.
const MACHINE: &str = r##"
set -eu
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir usr etc var proc dev tmp root src programs
mkdir -p var/lib
# awk is one of several, chosen there.
[ ! -d /etc/alternatives ] || cp -a /etc/alternatives etc/
for link in bin sbin lib lib64; do [ ! -L "/$link" ] || ln -s "usr/$link" "$link"; done
mount --rbind -o ro /usr usr && mount -o remount,bind,ro usr
mount -t tmpfs tmpfs usr/local
mount -t proc proc proc
mount --rbind /dev dev
mount --bind "$2" src && mount -o remount,bind,ro src
cp "$3" programs/fleetgate
cp "$4" programs/fleetgate-gateway
echo 'root:x:0:0::/root:/bin/sh' >etc/passwd
echo 'root:x:0:' >etc/group
echo 'root:*:1:0:99999:7:::' >etc/shadow
echo 'root:*::' >etc/gshadow
echo '127.0.0.1 localhost' >etc/hosts
ip link set lo up
exec env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root SHELL=/bin/sh chroot "$1" /bin/sh -c '
set -eu
step() { echo "$*" >&2; }
# Tools of accounts leave a copy and a lock of what they changed.
tree() { find /etc /var /usr/local /root | grep -v -e "^/etc/.*-$" -e "^/etc/.pwd.lock" -e "^/etc/subuid" -e "^/etc/subgid" | sort; }
answers() { curl -sSf --max-time 10 --retry 300 --retry-connrefused --retry-delay 1 "$@"; }
tree >/tmp/before

step install
for part in gateway sidecar; do
  case $part in gateway) program=fleetgate-gateway ;; sidecar) program=fleetgate ;; esac
  sh /src/install/install.sh $part --binary /programs/$program
done
id fleetgate
[ "$(stat -c %U:%G /etc/fleetgate/config.yaml)" = root:fleetgate ]

use_it() {
  (set -a; . /etc/fleetgate/gateway.env; exec fleetgate-gateway serve --config /etc/fleetgate/config.yaml) >/tmp/gateway.log 2>&1 &
  gateway=$!
  answers http://127.0.0.1:4100/health/liveliness
  [ -s /etc/fleetgate/host.key ] || FLEETGATE_ADMIN_KEY=$(sed -n "s/^LITELLM_MASTER_KEY=//p" /etc/fleetgate/gateway.env) \
    fleetgate keys create --gateway http://127.0.0.1:4100 --alias vk-clean --out /etc/fleetgate/host.key
  FLEETGATE_GATEWAY=http://127.0.0.1:4100 fleetgate sidecar --listen 127.0.0.1:4000 >/tmp/sidecar.log 2>&1 &
  sidecar=$!
  answers http://127.0.0.1:4000/__fleetgate/health
  answers http://127.0.0.1:4000/v1/chat/completions -H "content-type: application/json" \
    -d "{\"model\":\"mock\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}" | grep -q choices
  kill $sidecar $gateway
  wait $sidecar $gateway || :
}
step use
use_it

step upgrade
echo "# mine" >>/etc/fleetgate/config.yaml
for part in gateway sidecar; do
  case $part in gateway) program=fleetgate-gateway ;; sidecar) program=fleetgate ;; esac
  sh /src/install/install.sh $part --binary /programs/$program
done
grep -q "^# mine" /etc/fleetgate/config.yaml
use_it

step uninstall
sh /src/install/uninstall.sh | tee /tmp/told
for kept in /etc/fleetgate/config.yaml /etc/fleetgate/host.key /var/lib/fleetgate; do grep -qx "kept: $kept" /tmp/told; done
[ ! -e /usr/local/bin/fleetgate ] && [ ! -e /usr/local/bin/fleetgate-gateway ]

step purge
for part in gateway sidecar; do
  case $part in gateway) program=fleetgate-gateway ;; sidecar) program=fleetgate ;; esac
  sh /src/install/install.sh $part --binary /programs/$program
done
sh /src/install/uninstall.sh --purge
tree >/tmp/after
diff /tmp/before /tmp/after
if id fleetgate 2>/dev/null; then exit 1; fi
step done
'
"##;

#[test]
fn a_clean_machine_is_set_up_used_upgraded_and_left_without_a_file() {
    let root = tempfile::tempdir().unwrap();
    let allowed = Command::new("unshare").args(["--mount", "--net", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        println!("skipped: no namespaces for this user; run the tests as root");
        return;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", MACHINE, "machine"])
        .args([root.path(), &workspace(), &binary("fleetgate"), &binary("fleetgate-gateway")])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.ends_with("done\n"), "{said}\n{told}");
}
