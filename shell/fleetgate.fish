# Fleetgate's launchers for fish: the twin of fleetgate.sh, with the same names, settings and reasons.
# Every variable is local to its function, so the shell that sourced this stays as it was.

function __fleetgate_url
    set -l url http://127.0.0.1:4000
    set -q FLEETGATE_URL; and test -n "$FLEETGATE_URL"; and set url $FLEETGATE_URL
    string replace --regex '/$' '' -- $url
end

# The caller's list of hosts to reach directly, with loopback in it: __fleetgate_no_proxy FIRST SECOND, where SECOND stands
# in when FIRST is empty.
function __fleetgate_no_proxy
    set -l hosts $argv[1]
    test -n "$hosts"; or set hosts $argv[2]
    for peer in 127.0.0.1 localhost ::1
        if test "$hosts" = '*'; or string match --quiet -- "*,$peer,*" ",$hosts,"
            continue
        end
        set hosts (string join , -- (string match --invert -- '' "$hosts") $peer)
    end
    echo $hosts
end

function __fleetgate_model --argument-names mode
    # A mode is a model group of the gateway; which model stands behind it is the gateway's configuration, in one place.
    set -l override FLEETGATE_MODEL_(string upper -- $mode)
    if set -q $override; and test -n "$$override"
        echo $$override
    else
        echo $mode
    end
end

# Runs Claude Code through the sidecar: __fleetgate_claude MODE [ARGUMENT…].
function __fleetgate_claude
    set -l mode $argv[1]
    set -l kept (string split \n -- "$ANTHROPIC_CUSTOM_HEADERS" | string match --invert --regex '^(x-fleetgate-workload:.*)?$')
    set -l headers (string join \n -- $kept "x-fleetgate-workload: claude-$mode" | string collect)
    set -l upper (__fleetgate_no_proxy "$NO_PROXY" "$no_proxy")
    set -l lower (__fleetgate_no_proxy "$no_proxy" "$NO_PROXY")

    # A local variable that is not exported hides the exported one from the child.
    set -lu ANTHROPIC_API_KEY
    set -lu CLAUDE_CODE_OAUTH_TOKEN
    set -lu CLAUDE_CODE_USE_BEDROCK
    set -lu CLAUDE_CODE_USE_VERTEX
    set -lu CLAUDE_CODE_USE_FOUNDRY
    set -lx ANTHROPIC_AUTH_TOKEN fleetgate
    set -lx ANTHROPIC_BASE_URL (__fleetgate_url)
    set -lx ANTHROPIC_CUSTOM_HEADERS $headers
    set -lx CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC 1
    set -lx NO_PROXY $upper
    set -lx no_proxy $lower
    if test $mode = fleet
        command claude $argv[2..]
        return
    end

    set -l model (__fleetgate_model $mode)
    set -lx ANTHROPIC_MODEL $model
    set -lx ANTHROPIC_DEFAULT_OPUS_MODEL $model
    set -lx ANTHROPIC_DEFAULT_SONNET_MODEL $model
    set -lx ANTHROPIC_DEFAULT_HAIKU_MODEL $model
    set -lx ANTHROPIC_DEFAULT_FABLE_MODEL $model
    set -lx CLAUDE_CODE_SUBAGENT_MODEL $model
    set -lu ANTHROPIC_SMALL_FAST_MODEL
    set -l patience 3000000
    set -q API_TIMEOUT_MS; and test -n "$API_TIMEOUT_MS"; and set patience $API_TIMEOUT_MS
    set -lx API_TIMEOUT_MS $patience
    set -l window $CLAUDE_CODE_MAX_CONTEXT_TOKENS
    test -n "$window"; or set window 200000
    set -lx CLAUDE_CODE_MAX_CONTEXT_TOKENS $window
    command claude $argv[2..]
end

function claude-glm --description 'Claude Code on GLM through Fleetgate'
    __fleetgate_claude glm $argv
end

function claude-kimi --description 'Claude Code on Kimi through Fleetgate'
    __fleetgate_claude kimi $argv
end

function claude-minimax --description 'Claude Code on MiniMax through Fleetgate'
    __fleetgate_claude minimax $argv
end

function claude-qwen --description 'Claude Code on Qwen through Fleetgate'
    __fleetgate_claude qwen $argv
end

function claude-fleet --description 'Claude Code on its own models through Fleetgate'
    __fleetgate_claude fleet $argv
end

function codex-fleet --description 'Codex through Fleetgate'
    set -l upper (__fleetgate_no_proxy "$NO_PROXY" "$no_proxy")
    set -l lower (__fleetgate_no_proxy "$no_proxy" "$NO_PROXY")
    set -lx FLEETGATE_TOKEN fleetgate
    set -lx NO_PROXY $upper
    set -lx no_proxy $lower
    set -l model
    set -q FLEETGATE_MODEL_CODEX; and test -n "$FLEETGATE_MODEL_CODEX"; and set model -c "model=\"$FLEETGATE_MODEL_CODEX\""
    set -l provider 'name="fleetgate"' 'base_url="'(__fleetgate_url)'/v1"' 'wire_api="responses"' 'env_key="FLEETGATE_TOKEN"' \
        'http_headers={"x-fleetgate-workload"="codex-fleet"}'
    command codex -c model_provider=fleetgate -c "model_providers.fleetgate={"(string join , -- $provider)"}" \
        -c analytics.enabled=false -c features.plugins=false $model $argv
end
