# shellcheck shell=sh disable=SC2034,SC2154
# Where things go; read by install.sh and uninstall.sh, which set `part`, `scope`, `prefix`, `root` and `system` before.

case $root in
  '' | /*) ;;
  *) root=$PWD/$root ;;
esac

case $system:$scope in
  Linux:system)
    prefix=${prefix:-/usr/local}
    config=/etc/fleetgate
    state=/var/lib/fleetgate
    sidecar_state=/var/lib/fleetgate-sidecar
    services=/etc/systemd/system
    ;;
  Linux:user)
    # A gateway holds every provider's key, so it has an account of its own wherever there is one to be had.
    [ "$part" != gateway ] || fail "--user is for the sidecar; the gateway runs under an account of its own"
    prefix=${prefix:-$HOME/.local}
    config=${XDG_CONFIG_HOME:-$HOME/.config}/fleetgate
    state=${XDG_STATE_HOME:-$HOME/.local/state}/fleetgate
    sidecar_state=$state
    services=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
    ;;
  Darwin:user)
    prefix=${prefix:-$HOME/.local}
    config="$HOME/Library/Application Support/dev.fleetgate.fleetgate"
    state=$config/gateway
    sidecar_state=$config
    services=$HOME/Library/LaunchAgents
    ;;
  Darwin:system) fail "on macOS gateway and sidecar run as you: add --user" ;;
  *) fail "no service files for $system; build with 'cargo build --release' and start the programs yourself" ;;
esac
prefix=${prefix%/}

# Where each shell looks below a prefix without being told; zsh alone wants to be told of ~/.local.
completions_bash=$prefix/share/bash-completion/completions
completions_zsh=$prefix/share/zsh/site-functions
completions_fish=$prefix/share/fish/vendor_completions.d
man_pages=$prefix/share/man/man1
