# shellcheck shell=sh
# Fleetgate's launchers for bash, zsh, dash, ksh and busybox sh. To be sourced: it defines functions and does nothing else.
#
# Nothing here belongs to one machine and nothing is secret: the sidecar on localhost knows this machine's key.
# The functions whose body is ( … ) run in a subshell that becomes the launched program, so that no variable stays behind.

# Runs Claude Code through the sidecar: fleetgate_claude MODE [ARGUMENT…].
fleetgate_claude() (
  fleetgate_enter
  fleetgate_mode=$1
  shift

  # A mode is a model group of the gateway; which model stands behind it is the gateway's configuration, in one place.
  case $fleetgate_mode in
    glm) fleetgate_model=${FLEETGATE_MODEL_GLM:-glm} ;;
    kimi) fleetgate_model=${FLEETGATE_MODEL_KIMI:-kimi} ;;
    minimax) fleetgate_model=${FLEETGATE_MODEL_MINIMAX:-minimax} ;;
    qwen) fleetgate_model=${FLEETGATE_MODEL_QWEN:-qwen} ;;
    *) fleetgate_model= ;;
  esac
  if [ -n "$fleetgate_model" ]; then
    export ANTHROPIC_MODEL="$fleetgate_model"
    export ANTHROPIC_DEFAULT_OPUS_MODEL="$fleetgate_model"
    export ANTHROPIC_DEFAULT_SONNET_MODEL="$fleetgate_model"
    export ANTHROPIC_DEFAULT_HAIKU_MODEL="$fleetgate_model"
    export ANTHROPIC_DEFAULT_FABLE_MODEL="$fleetgate_model"
    export CLAUDE_CODE_SUBAGENT_MODEL="$fleetgate_model"
    # The old name of ANTHROPIC_DEFAULT_HAIKU_MODEL; left over, it would win over the mode.
    unset ANTHROPIC_SMALL_FAST_MODEL
    # These back ends think for longer than Claude Code waits by default.
    export API_TIMEOUT_MS="${API_TIMEOUT_MS:-3000000}"
    # It assumes a million tokens for models that it does not know, and would compact a session long after it was refused.
    export CLAUDE_CODE_MAX_CONTEXT_TOKENS="${CLAUDE_CODE_MAX_CONTEXT_TOKENS:-200000}"
  fi

  # The token is a placeholder that the sidecar replaces. The rest would send a credential of its own beside it, or
  # leave the base URL aside.
  unset ANTHROPIC_API_KEY CLAUDE_CODE_OAUTH_TOKEN CLAUDE_CODE_USE_BEDROCK CLAUDE_CODE_USE_VERTEX CLAUDE_CODE_USE_FOUNDRY
  export ANTHROPIC_AUTH_TOKEN=fleetgate
  export ANTHROPIC_BASE_URL="$fleetgate_url"
  # Telemetry and update checks ignore the base URL and would leave from this machine's own address.
  export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1

  # One header a line. Started from within another launcher, the outer one's name gives way.
  fleetgate_rest=${ANTHROPIC_CUSTOM_HEADERS-}
  fleetgate_kept=
  while [ -n "$fleetgate_rest" ]; do
    fleetgate_line=${fleetgate_rest%%"$fleetgate_newline"*}
    fleetgate_rest=${fleetgate_rest#"$fleetgate_line"}
    fleetgate_rest=${fleetgate_rest#"$fleetgate_newline"}
    case $fleetgate_line in
      '' | x-fleetgate-workload:*) ;;
      *) fleetgate_kept=$fleetgate_kept$fleetgate_line$fleetgate_newline ;;
    esac
  done
  export ANTHROPIC_CUSTOM_HEADERS="${fleetgate_kept}x-fleetgate-workload: claude-$fleetgate_mode"

  exec claude "$@"
)

# Runs Codex through the sidecar: fleetgate_codex [ARGUMENT…]. Codex obeys no environment variable for its base URL, hence
# a provider of its own on the command line; later -c and -m of the caller still win.
fleetgate_codex() (
  fleetgate_enter
  export FLEETGATE_TOKEN=fleetgate
  if [ -n "${FLEETGATE_MODEL_CODEX-}" ]; then
    set -- -c "model=\"$FLEETGATE_MODEL_CODEX\"" "$@"
  fi
  fleetgate_provider="name=\"fleetgate\",base_url=\"$fleetgate_url/v1\",wire_api=\"responses\",env_key=\"FLEETGATE_TOKEN\""
  fleetgate_provider="$fleetgate_provider,http_headers={\"x-fleetgate-workload\"=\"codex-fleet\"}"
  # Telemetry (chatgpt.com) and the list of plugins (github.com) ignore the base URL: they would leave from this machine's own
  # address.
  exec codex -c model_provider=fleetgate -c "model_providers.fleetgate={$fleetgate_provider}" \
    -c analytics.enabled=false -c features.plugins=false "$@"
)

# Sets what every launcher needs. Only to be called in a subshell that ends as the launched program.
fleetgate_enter() {
  # Whatever options the caller's zsh has (warn_create_global, ksh_arrays …), from here on it reads POSIX.
  if [ -n "${ZSH_VERSION-}" ]; then emulate sh; fi
  fleetgate_newline='
'
  fleetgate_url=${FLEETGATE_URL:-http://127.0.0.1:4000}
  fleetgate_url=${fleetgate_url%/}
  # With HTTPS_PROXY set, clients would send even their loopback calls to the proxy. Which of the two spellings a client
  # reads differs, so both say the same unless the caller made them differ.
  fleetgate_upper=${NO_PROXY:-${no_proxy-}}
  fleetgate_lower=${no_proxy:-${NO_PROXY-}}
  for fleetgate_peer in 127.0.0.1 localhost ::1; do
    case ,$fleetgate_upper, in
      ,\*, | *,"$fleetgate_peer",*) ;;
      *) fleetgate_upper=${fleetgate_upper:+$fleetgate_upper,}$fleetgate_peer ;;
    esac
    case ,$fleetgate_lower, in
      ,\*, | *,"$fleetgate_peer",*) ;;
      *) fleetgate_lower=${fleetgate_lower:+$fleetgate_lower,}$fleetgate_peer ;;
    esac
  done
  export NO_PROXY="$fleetgate_upper" no_proxy="$fleetgate_lower"
}

# Gives a launcher its name: fleetgate_name NAME COMMAND. POSIX allows no `-` in a function's name, and bash expands no alias
# in a script: so a function where the shell takes one, and an alias elsewhere (where scripts expand them too).
fleetgate_name() {
  unalias "$1" 2>/dev/null || :
  # shellcheck disable=SC2139,SC3028 # the alias is meant to hold its words; SHELLOPTS is read in bash only
  case ${ZSH_VERSION:+zsh}${BASH_VERSION:+bash}:${SHELLOPTS-}: in
    bash:*:posix:*) alias "$1=$2" ;;
    zsh:* | bash:*) eval "$1() { $2 \"\$@\"; }" ;;
    *) alias "$1=$2" ;;
  esac
}

fleetgate_name claude-glm 'fleetgate_claude glm'
fleetgate_name claude-kimi 'fleetgate_claude kimi'
fleetgate_name claude-minimax 'fleetgate_claude minimax'
fleetgate_name claude-qwen 'fleetgate_claude qwen'
fleetgate_name claude-fleet 'fleetgate_claude fleet'
fleetgate_name codex-fleet fleetgate_codex
unset -f fleetgate_name
