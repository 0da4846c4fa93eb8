# Fleetgate's launchers for fish: the twin of fleetgate.sh, with the same names, limits and reasons.

# What every launcher does: __fleetgate_run [--mode MODE] -- PROGRAM [ARGUMENT…].
function __fleetgate_run
    if command --query fleetgate
        command fleetgate run $argv
    else
        echo 'fleetgate: this machine has no fleetgate on its PATH; install it, or start the program by its own name' >&2
        return 127
    end
end

function __fleetgate_define
    # The shipped modes, as in modes.toml, and those of the person's own file.
    set -l modes glm kimi minimax deepseek qwen openrouter native
    set -l file $FLEETGATE_MODES
    if test -z "$file"
        set file $XDG_CONFIG_HOME
        test -n "$file"; or set file $HOME/.config
        set file $file/fleetgate/modes.toml
    end
    if test -f "$file"; and test -r "$file"
        set -l mode
        for line in (string match --regex '^\s*(?:\[.*|enabled\s*=\s*false\b)' <$file)
            if string match --quiet --regex '^\s*\[' -- $line
                set mode (string replace --filter --regex '^\s*\[mode\.([a-z0-9][a-z0-9-]*)\].*' '$1' -- $line)
                contains -- "$mode" '' $modes; or set --append modes $mode
            else if set -l at (contains --index -- "$mode" $modes)
                set --erase modes[$at]
            end
        end
    end

    for program in claude codex gemini opencode aider qwen
        for mode in $modes
            function $program-$mode --inherit-variable program --inherit-variable mode --wraps $program
                __fleetgate_run --mode $mode -- $program $argv
            end
        end
        # What was there before there were modes: the program's own models, through the sidecar.
        function $program-fleet --inherit-variable program --wraps $program
            __fleetgate_run -- $program $argv
        end
    end
end

__fleetgate_define
functions --erase __fleetgate_define
