# What zsh offers at a TAB, one a line after `<offered> `: zsh -f tab.zsh DIRECTORY TYPED, with the completions in DIRECTORY. A zsh of its own runs
# on a terminal of its own, and writes down what its completions hand over instead of showing them.
zmodload zsh/zpty
zpty offered zsh -f -i
zpty -w offered '
PROMPT= RPROMPT=
fpath=('$1' $fpath)
autoload -Uz compinit && compinit -u -D
bindkey "^I" complete-word
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  typeset -a found
  builtin compadd -A found "$@"
  print -l -- "<offered> "${^found}
}
comppostfuncs=(finish)
finish() { print "<end>"; exit }
print "<re""ady>"
'
zpty -r offered line '*<ready>*'
zpty -w -n offered $2$'\t'
while zpty -r offered line; do
  line=${line//$'\r'/}
  print -r -- ${line%$'\n'}
  [[ $line == *'<end>'* ]] && break
done
