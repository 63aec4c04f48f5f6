//! Scripts of ostler for the shells. `PROGRAM` stands for the name of the program.

/// bash passes the line up to the cursor, the part of the word that it replaces, and its words up to
/// the cursor.
pub(super) const BASH: &str = r#"_PROGRAM() {
  local IFS=$' \t\n' line="${COMP_LINE-}" kind typed cut lead path
  COMPREPLY=()
  while IFS= read -r kind; do
    case "$kind" in
      $'\tnospace') compopt -o nospace 2>/dev/null ;;
      $'\tfiles' | $'\tfolders')
        IFS= read -r typed && IFS= read -r cut && IFS= read -r lead
        compopt -o filenames 2>/dev/null
        if [ "$kind" = $'\tfiles' ]; then kind=-f; else kind=-d; fi
        while IFS= read -r path; do COMPREPLY+=("$lead${path#"$cut"}"); done < <(compgen "$kind" -- "$typed" 2>/dev/null) ;;
      *) COMPREPLY+=("$kind") ;;
    esac
  done < <(PROGRAM completion --shell bash --complete -- "${line:0:${COMP_POINT:-${#line}}}" \
    "${2-${COMP_WORDS[COMP_CWORD]-}}" "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
}
complete -F _PROGRAM PROGRAM
"#;

/// zsh passes the words before the cursor and the start of the current word, without quotes. The
/// script also works as a file `_PROGRAM` of `fpath`.
pub(super) const ZSH: &str = r#"_PROGRAM() {
  local -a answer found tail
  local kind lead
  local -i i ret=1
  answer=("${(@f)$(PROGRAM completion --shell zsh --complete -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
  for (( i = 1; i <= $#answer; i++ )); do
    case $answer[i] in
      ($'\tnospace') tail=(-S '') ;;
      ($'\tfiles'|$'\tfolders') kind=$answer[i] lead=${answer[i+1]-}; (( i++ )) ;;
      (?*) found+=("$answer[i]") ;;
    esac
  done
  (( $#found )) && _describe -V -t PROGRAM 'PROGRAM' found $tail && ret=0
  if [[ -n $kind ]]; then
    compset -p $#lead
    if [[ $kind = $'\tfiles' ]]; then _files && ret=0; else _files -/ && ret=0; fi
  fi
  return ret
}
if [[ ${funcstack[1]-} = _PROGRAM ]]; then
  _PROGRAM "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i; }
  compdef _PROGRAM PROGRAM
fi
"#;

/// fish passes the words before the cursor, with the program and without quotes, and the current word
/// as it is typed.
pub(super) const FISH: &str = r#"function __PROGRAM_complete
    set -l typed (commandline -ct)
    set -l kind
    for line in (PROGRAM completion --shell fish --complete -- (commandline -opc) "$typed" 2>/dev/null)
        if test -n "$kind"
            set -l path (string replace -- "$line" '' "$typed")
            for found in (complete -C"'' $path")
                if test "$kind" = files; or string match -q '*/' -- (string split \t -- $found)[1]
                    printf '%s\n' "$line$found"
                end
            end
            set kind
        else if test "$line" = \tfiles
            set kind files
        else if test "$line" = \tfolders
            set kind folders
        else if test "$line" != \tnospace
            printf '%s\n' "$line"
        end
    end
end
complete -c PROGRAM -kf -a '(__PROGRAM_complete)'
"#;
