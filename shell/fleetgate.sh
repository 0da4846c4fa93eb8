# shellcheck shell=sh
# Fleetgate's launchers for bash, zsh, dash, ksh, mksh and busybox sh, to be sourced. README.md beside this file says how it works.
# Nothing here belongs to one machine and nothing is secret. Comments are few: a shell reads them at each start.

# fleetgate_run [--mode MODE] -- PROGRAM [ARGUMENT…]
fleetgate_run() {
  if command -v fleetgate >/dev/null 2>&1; then
    command fleetgate run "$@"
  else
    echo 'fleetgate: this machine has no fleetgate on its PATH; install it, or start the program by its own name' >&2
    return 127
  fi
}

fleetgate_define() {
  # Whatever options the caller's zsh has, up to the end of this function it reads POSIX.
  if [ -n "${ZSH_VERSION-}" ]; then emulate -LR sh; fi

  # The shipped modes, then the person's own: of that file only headings and `enabled` matter here.
  fleetgate_modes='glm kimi minimax deepseek qwen openrouter native '
  fleetgate_file=${FLEETGATE_MODES:-${XDG_CONFIG_HOME:-${HOME-}/.config}/fleetgate/modes.toml}
  fleetgate_mode=
  if [ -f "$fleetgate_file" ] && [ -r "$fleetgate_file" ]; then
    while IFS=' 	' read -r fleetgate_key fleetgate_is fleetgate_value fleetgate_rest || [ -n "$fleetgate_key" ]; do
      case "$fleetgate_key $fleetgate_is $fleetgate_value" in
        '[mode.'*']'*)
          fleetgate_mode=${fleetgate_key#'[mode.'}
          fleetgate_mode=${fleetgate_mode%%']'*}
          # Each letter by itself, because what a range holds depends on the locale: these names are evaluated below.
          case $fleetgate_mode in
            '' | -* | *[!abcdefghijklmnopqrstuvwxyz0123456789-]*) fleetgate_mode= ;;
            *)
              case " $fleetgate_modes" in
                *" $fleetgate_mode "*) ;;
                *) fleetgate_modes="$fleetgate_modes$fleetgate_mode " ;;
              esac
              ;;
          esac
          ;;
        '['*) fleetgate_mode= ;;
        'enabled = false' | 'enabled = false'[!a-z]* | 'enabled=false '* | 'enabled =false '* | 'enabled= false '*)
          # Its heading has put it on the list.
          if [ -n "$fleetgate_mode" ]; then
            fleetgate_rest=" $fleetgate_modes"
            fleetgate_modes=${fleetgate_rest%%" $fleetgate_mode "*}' '${fleetgate_rest#*" $fleetgate_mode "}
            fleetgate_modes=${fleetgate_modes# }
            fleetgate_mode=
          fi
          ;;
      esac
    done <"$fleetgate_file"
  fi

  # Functions where their names may hold a `-`, aliases elsewhere.
  # shellcheck disable=SC3028 # SHELLOPTS is read in bash only
  case ${ZSH_VERSION:+zsh}${BASH_VERSION:+bash}:${SHELLOPTS-}: in
    bash:*:posix:*) fleetgate_kind=aliases ;;
    zsh:* | bash:*) fleetgate_kind=functions ;;
    *) fleetgate_kind=aliases ;;
  esac
  # The last one, without a name, is `fleet`: the program's own models.
  fleetgate_modes="$fleetgate_modes "
  while [ -n "$fleetgate_modes" ]; do
    fleetgate_mode=${fleetgate_modes%% *}
    fleetgate_modes=${fleetgate_modes#* }
    fleetgate_words="fleetgate_run --mode $fleetgate_mode --"
    if [ -z "$fleetgate_mode" ]; then
      fleetgate_mode=fleet
      fleetgate_words='fleetgate_run --'
    fi
    # shellcheck disable=SC2139 # the aliases are meant to hold their words
    alias "claude-$fleetgate_mode=$fleetgate_words claude" "codex-$fleetgate_mode=$fleetgate_words codex" \
      "gemini-$fleetgate_mode=$fleetgate_words gemini" "opencode-$fleetgate_mode=$fleetgate_words opencode" \
      "aider-$fleetgate_mode=$fleetgate_words aider" "qwen-$fleetgate_mode=$fleetgate_words qwen"
    if [ "$fleetgate_kind" = functions ]; then
      # An alias would win over the function. All are there by now, so that `unalias` has no complaint.
      unalias "claude-$fleetgate_mode" "codex-$fleetgate_mode" "gemini-$fleetgate_mode" "opencode-$fleetgate_mode" \
        "aider-$fleetgate_mode" "qwen-$fleetgate_mode"
      eval "claude-$fleetgate_mode() { $fleetgate_words claude \"\$@\"; };" \
        "codex-$fleetgate_mode() { $fleetgate_words codex \"\$@\"; };" \
        "gemini-$fleetgate_mode() { $fleetgate_words gemini \"\$@\"; };" \
        "opencode-$fleetgate_mode() { $fleetgate_words opencode \"\$@\"; };" \
        "aider-$fleetgate_mode() { $fleetgate_words aider \"\$@\"; };" \
        "qwen-$fleetgate_mode() { $fleetgate_words qwen \"\$@\"; };"
    fi
  done
}

fleetgate_define
unset -f fleetgate_define
unset fleetgate_modes fleetgate_file fleetgate_mode fleetgate_key fleetgate_is fleetgate_value fleetgate_rest fleetgate_kind fleetgate_words
