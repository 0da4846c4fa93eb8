#!/bin/sh
# Fleetgate on this machine alone, for a look: gateway and sidecar with a provider that answers by itself, one streamed call and
# its row in the ledger. Stays up until Ctrl-C. Needs cargo, a C compiler and curl, no root and no provider's key.
set -eu

usage() {
  cat <<'EOF'
usage: install/quickstart.sh [--once]

  --once   stop after the call instead of staying up

  FLEETGATE_QUICKSTART_DIR            where everything is kept (default ~/.local/state/fleetgate/quickstart)
  FLEETGATE_QUICKSTART_PORT           the sidecar's port (default 4000)
  FLEETGATE_QUICKSTART_GATEWAY_PORT   the gateway's port (default 4100)
  FLEETGATE_QUICKSTART_BIN            a directory with both programs, to use instead of building them
EOF
}

once=
case $#:${1-} in
  0:) ;;
  1:--once) once=yes ;;
  1:-h | 1:--help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
state=${FLEETGATE_QUICKSTART_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/fleetgate/quickstart}
port=${FLEETGATE_QUICKSTART_PORT:-4000}
gateway_port=${FLEETGATE_QUICKSTART_GATEWAY_PORT:-4100}
bin=${FLEETGATE_QUICKSTART_BIN-}
gateway=http://127.0.0.1:$gateway_port
# These would change what the programs do, and this is to be the same for everyone.
unset FLEETGATE_GATEWAY FLEETGATE_LISTEN FLEETGATE_HOSTS FLEETGATE_HOST FLEETGATE_CONFIG FLEETGATE_DATABASE DATABASE_URL
unset FLEETGATE_ADMIN_KEY LITELLM_MASTER_KEY HOST PORT
unset FLEETGATE_ALLOW_USERS FLEETGATE_ALLOW_HOSTS FLEETGATE_REQUIRE_TOKEN FLEETGATE_TOKEN_FILE FLEETGATE_LISTEN_UNIX
# Set by whoever calls through the sidecar already. For the gateway they would be where the provider is: a circle.
unset OPENAI_BASE_URL OPENAI_API_BASE ANTHROPIC_BASE_URL ANTHROPIC_API_BASE ANTHROPIC_AUTH_TOKEN

fail() {
  printf '\nquickstart: %s\n' "$*" >&2
  exit 1
}

step() {
  printf '\n%s\n' "$*"
}

gateway_pid='' sidecar_pid=''

# Ends both programs, whatever ended this script. A second Ctrl-C finds it deaf: it is on its way out.
# shellcheck disable=SC2317 # the trap calls it
stop() {
  status=$?
  trap '' INT TERM HUP
  trap - EXIT
  # The sidecar first, so that nobody finds an open door with nothing behind it.
  end "$sidecar_pid"
  end "$gateway_pid"
  [ -z "$gateway_pid" ] || printf '\nGateway and sidecar are stopped. Everything they kept is in %s\n' "$state"
  exit "$status"
}

# shellcheck disable=SC2317 # the trap's function calls it
end() {
  [ -n "$1" ] || return 0
  kill -TERM "$1" 2>/dev/null || return 0
  # A program that hangs in its last flush gets ten seconds, then no more.
  (
    tries=0
    while [ "$tries" -lt 100 ] && kill -0 "$1" 2>/dev/null; do
      sleep 0.1
      tries=$((tries + 1))
    done
    kill -KILL "$1" 2>/dev/null
  ) &
  watchdog=$!
  wait "$1" 2>/dev/null || :
  kill "$watchdog" 2>/dev/null || :
  wait "$watchdog" 2>/dev/null || :
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Who listens on a port of loopback or of every address, as far as this system tells without further programs.
port_owner() {
  if [ -r /proc/net/tcp ]; then
    inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$(printf '%04X' "$1")" '
      $4 == "0A" && $2 ~ "^(0100007F|0+|0+1000000|0+FFFF00000100007F):" port "$" { print $10; exit }')
    [ -n "$inode" ] || return 0
    found=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | head -n 1) || :
    found=${found#/proc/}
    found=${found%%/*}
    if [ -n "$found" ]; then
      printf '%s (process %s)' "$(cat "/proc/$found/comm")" "$found"
    else
      printf 'a program of another user'
    fi
  elif command -v lsof >/dev/null; then
    lsof -nP -iTCP:"$1" -sTCP:LISTEN -Fcp 2>/dev/null | awk '
      /^p/ { pid = substr($0, 2) }
      /^c/ { printf "%s (process %s)", substr($0, 2), pid; exit }'
  fi
}

require_free() {
  owner=$(port_owner "$1")
  [ -z "$owner" ] || fail "port $1 is taken by $owner. Stop it, or set $2 to another port."
}

# Waits until a program says that it is ready: await PID NAME.
await() {
  tries=0
  until grep -q '^ready' "$state/$2.out"; do
    if ! kill -0 "$1" 2>/dev/null || [ $tries -ge 300 ]; then
      tail -n 20 "$state/$2.log" >&2
      fail "the $2 did not get ready; its own words are above, all of them in $state/$2.log"
    fi
    sleep 0.1
    tries=$((tries + 1))
  done
}

# Whether the environment has a provider's key: has_key PROVIDER. It stays there; the configuration only names it.
has_key() {
  variable=$(printf '%s_API_KEY' "$1" | tr '[:lower:]' '[:upper:]')
  eval "value=\${$variable-}"
  # shellcheck disable=SC2154 # assigned by the line above
  case $value in
    # What step 7 tells programs to use is nobody's key.
    '' | any | fleetgate) return 1 ;;
  esac
}

# entry NAME MODEL PROVIDER
entry() {
  printf '  - model_name: "%s"\n    litellm_params: {model: "%s", api_key: os.environ/%s_API_KEY}\n' \
    "$1" "$2" "$(printf '%s' "$3" | tr '[:lower:]' '[:upper:]')"
}

# A launcher's model: its provider's where there is a key for it, else the one that answers by itself.
launcher() {
  if has_key "$3"; then
    entry "$@"
  else
    printf '  - model_name: "%s"\n    litellm_params: {model: "mock/%s"}\n' "$1" "$1"
  fi
}

write_config() {
  cat <<'EOF'
# Written by install/quickstart.sh at each start.
model_list:
  - model_name: "mock"
    # Example prices, so that the row has a cost: 1 and 5 dollars for a million tokens.
    litellm_params: {model: "mock/hello", input_cost_per_token: 0.000001, output_cost_per_token: 0.000005}
EOF
  for provider in openai anthropic openrouter gemini zai moonshot minimax dashscope deepseek xai groq mistral; do
    if has_key "$provider"; then entry "$provider/*" "$provider/*" "$provider"; fi
  done
  # Claude Code and Codex name their models without a provider.
  if has_key anthropic; then entry 'claude-*' 'anthropic/claude-*' anthropic; fi
  if has_key openai; then entry 'gpt-*' 'openai/gpt-*' openai; fi
  launcher glm zai/glm-4.7 zai
  launcher kimi moonshot/kimi-k2.6 moonshot
  launcher minimax minimax/MiniMax-M2.5 minimax
  launcher qwen dashscope/qwen3-coder-plus dashscope
  printf 'general_settings:\n  master_key: os.environ/LITELLM_MASTER_KEY\n'
}

command -v curl >/dev/null || fail "curl is missing. On Debian: apt-get install curl"
# Before the build: nobody should wait for it to be told this.
require_free "$gateway_port" FLEETGATE_QUICKSTART_GATEWAY_PORT
require_free "$port" FLEETGATE_QUICKSTART_PORT

step '1. Building gateway and sidecar'
if [ -z "$bin" ]; then
  command -v cargo >/dev/null || fail "cargo is missing. Rust's own installer is at https://rustup.rs"
  command -v cc >/dev/null || fail "a C compiler is missing. On Debian: apt-get install build-essential"
  cd "$root"
  cargo build --profile quickstart --locked -p fleetgate-gateway -p fleetgate-sidecar || fail "the build failed, see above"
  bin=$(cargo metadata --format-version 1 --no-deps --offline | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/quickstart
fi
printf '   %s/fleetgate-gateway\n   %s/fleetgate\n' "$bin" "$bin"

umask 077
mkdir -p "$state"
chmod 700 "$state"
if [ ! -s "$state/master.key" ]; then
  printf 'sk-%s' "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >"$state/master.key"
fi
LITELLM_MASTER_KEY=$(cat "$state/master.key")
write_config >"$state/config.yaml"

step "2. Starting the gateway on $gateway"
# A key opens only the ledger that it was made in.
[ -e "$state/ledger.db" ] || rm -f "$state/host.key" "$state/enrolled"
: >"$state/gateway.out"
LITELLM_MASTER_KEY=$LITELLM_MASTER_KEY "$bin/fleetgate-gateway" serve --config "$state/config.yaml" \
  --listen "127.0.0.1:$gateway_port" --database "sqlite:$state/ledger.db" \
  >"$state/gateway.out" 2>"$state/gateway.log" </dev/null &
gateway_pid=$!
await "$gateway_pid" gateway
sed -n 's|^  - model_name: "\(.*\)"|\1|p' "$state/config.yaml" | paste -sd ' ' - | sed 's/^/   models: /'

host=$(uname -n | tr '[:upper:]' '[:lower:]')
host=${host%%.*}
step "3. Enrolling this machine as '$host'"
if [ -s "$state/host.key" ]; then
  printf '   its virtual key is there already: %s/host.key\n' "$state"
else
  alias=vk-$host
  rm -f "$state/host.key"
  # The ledger knows that name from an earlier start whose key file is gone.
  [ ! -e "$state/enrolled" ] || alias=$alias-$(date +%Y%m%d%H%M%S)
  FLEETGATE_ADMIN_KEY=$LITELLM_MASTER_KEY "$bin/fleetgate" keys create --gateway "$gateway" --alias "$alias" --host "$host" \
    --out "$state/host.key" >"$state/enrol.log" 2>&1 </dev/null || {
    cat "$state/enrol.log" >&2
    fail "the gateway gave this machine no key"
  }
  : >"$state/enrolled"
  printf '   virtual key %s, in %s/host.key (mode 0600)\n' "$alias" "$state"
fi
printf '[[host]]\nmatch = ["*"]\nkey = "file:host.key"\n' >"$state/hosts.toml"

step "4. Starting the sidecar on http://localhost:$port"
set -- sidecar --gateway "$gateway" --hosts "$state/hosts.toml" --host "$host"
# Its own default is both loopback addresses; another port is given for the one that every machine has.
[ "$port" = 4000 ] || set -- "$@" --listen "127.0.0.1:$port"
: >"$state/sidecar.out"
"$bin/fleetgate" "$@" >"$state/sidecar.out" 2>"$state/sidecar.log" </dev/null &
sidecar_pid=$!
await "$sidecar_pid" sidecar

step '5. One streamed call, with plain curl and no key'
body='{"model":"mock","stream":true,"messages":[{"role":"user","content":"Hello, who is there?"}]}'
# shellcheck disable=SC2016 # shown as it would be typed
printf '   $ curl -N http://localhost:%s/v1/chat/completions -H "content-type: application/json" \\\n       -d '\''%s'\''\n' \
  "$port" "$body"
code=$(curl -sSN --noproxy '*' --max-time 60 -o "$state/answer" -w '%{http_code}' \
  -H 'content-type: application/json' -H 'x-fleetgate-workload: quickstart' \
  -d "$body" "http://127.0.0.1:$port/v1/chat/completions") || fail "curl could not finish the call; see $state/sidecar.log"
if [ "$code" != 200 ]; then
  cat "$state/answer" >&2
  fail "the call was refused with status $code; see $state/gateway.log"
fi
text=$(sed -n 's/^data: .*"content" *: *"\([^"]*\)".*/\1/p' "$state/answer" | tr -d '\n')
printf '   answer: %s\n   (%s events, as they came: %s/answer)\n' "$text" "$(grep -c '^data: ' "$state/answer")" "$state"

step '6. Its row in the ledger'
FLEETGATE_ADMIN_KEY=$LITELLM_MASTER_KEY "$bin/fleetgate" logs --gateway "$gateway" --limit 1 >"$state/row"
sed 's/^/   /' "$state/row"
printf '   (its price is an example, from %s/config.yaml)\n' "$state"
[ -z "$once" ] || exit 0

step '7. Yours. In another terminal:'
cat <<EOF
   # OpenAI's and Anthropic's SDKs. Any key will do: the sidecar puts this machine's in.
   export OPENAI_BASE_URL=http://localhost:$port/v1 OPENAI_API_KEY=fleetgate
   export ANTHROPIC_BASE_URL=http://localhost:$port ANTHROPIC_AUTH_TOKEN=fleetgate

   # Claude Code and Codex: claude-glm, claude-fleet, codex-fleet …
   export PATH="$bin:\$PATH" FLEETGATE_URL=http://127.0.0.1:$port; . '$root/shell/fleetgate.sh'

   # Any HTTPS, through the gateway
   curl -x http://localhost:$port https://api.ipify.org

   # The ledger (--json has every field)
   FLEETGATE_ADMIN_KEY=\$(cat '$state/master.key') '$bin/fleetgate' logs --gateway $gateway

   Ctrl-C stops both programs.
EOF
while kill -0 "$gateway_pid" 2>/dev/null && kill -0 "$sidecar_pid" 2>/dev/null; do
  sleep 1
done
fail "a program ended by itself; see $state/gateway.log and $state/sidecar.log"
