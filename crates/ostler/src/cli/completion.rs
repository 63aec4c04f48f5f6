//! Completion: scripts for the shells, and the words that fit.
//!
//! The scripts contain no list of words. They pass the words typed so far to
//! `completion --complete` and offer what it prints.

use super::commands::{COMMANDS, find};
use super::options::GLOBAL;
use super::shared_options::OptionUse;
use super::table::{CompletionKind, Group, Opt};

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    /// GNU bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    /// Returns the shell of this name or path (`/usr/bin/zsh`).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.rsplit('/').next()? {
            "bash" | "sh" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }
}

/// Returns the line that marks the start of ostler's part in a shell's start file.
pub(crate) fn begin_mark(program: &str) -> String {
    format!("###-begin-{program}-completion-###")
}

/// Returns the line that marks the end of that part.
pub(crate) fn end_mark(program: &str) -> String {
    format!("###-end-{program}-completion-###")
}

/// Returns the script for a shell, between its marks.
pub(crate) fn script(program: &str, shell: Shell) -> String {
    let template = match shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    };
    format!("{}\n{}{}\n", begin_mark(program), template.replace("PROGRAM", program), end_mark(program))
}

const BASH: &str = r#"_PROGRAM_complete() {
  local word="${COMP_WORDS[COMP_CWORD]}" line
  COMPREPLY=()
  while IFS= read -r line; do
    [ "$line" = "::files" ] && { compopt -o default 2>/dev/null; continue; }
    case "$line" in "$word"*) COMPREPLY+=("$(printf '%q' "$line")") ;; esac
  done < <(PROGRAM completion --complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _PROGRAM_complete PROGRAM
"#;

const ZSH: &str = r#"_PROGRAM_complete() {
  local -a found
  local line
  while IFS= read -r line; do
    if [ "$line" = "::files" ]; then _files; else found+=("$line"); fi
  done < <(PROGRAM completion --complete -- "${words[@]:1:$((CURRENT - 1))}" 2>/dev/null)
  compadd -a found
}
compdef _PROGRAM_complete PROGRAM 2>/dev/null
"#;

const FISH: &str = r#"function __PROGRAM_complete
  for line in (PROGRAM completion --complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
    if test "$line" = "::files"
      __fish_complete_path (commandline -ct)
    else
      echo $line
    end
  end
end
complete -c PROGRAM -f -a '(__PROGRAM_complete)'
"#;

/// Returns the words that fit after these; the user is typing the last one. `names` are those of
/// the apps. The word `::files` makes the shell complete files.
pub(crate) fn candidates(words: &[String], names: &[String]) -> Vec<String> {
    let typed = words.last().map_or("", String::as_str);
    let before = &words[..words.len().saturating_sub(1)];
    if before.iter().any(|word| word == "--") {
        return vec!["::files".into()];
    }
    let command = before.iter().find_map(|word| find(word));
    if typed.starts_with('-') {
        let is_useful = |opt: &&Opt| command.is_none_or(|command| matches!(command.use_of(opt), OptionUse::Everywhere | OptionUse::Used));
        let own = command.map_or(&[] as &[Opt], |command| command.options).iter().filter(|opt| opt.group != Group::Accepted);
        let all = own.chain(GLOBAL.iter().filter(is_useful)).filter(|opt| opt.long.len() > 1);
        let mut spellings: Vec<String> = all.map(|opt| format!("--{}", opt.long)).collect();
        spellings.retain(|spelling| spelling.starts_with(typed));
        return spellings;
    }
    let mut found: Vec<String> = match command.map(|command| command.completes) {
        None => COMMANDS.iter().flat_map(|c| std::iter::once(c.name).chain(c.aliases.iter().copied())).map(str::to_owned).collect(),
        Some(CompletionKind::Names) => names.iter().cloned().chain(["all".to_owned()]).collect(),
        Some(CompletionKind::Files) => names.to_vec(),
        Some(CompletionKind::Words(words)) => words.iter().map(|&word| word.to_owned()).collect(),
        Some(CompletionKind::Nothing) => Vec::new(),
    };
    found.retain(|word| word.starts_with(typed));
    found.sort();
    found.dedup();
    if command.is_some_and(|command| command.completes == CompletionKind::Files) {
        found.push("::files".into());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn candidates_match_the_typed_word() {
        let names = ["api".to_owned(), "web".to_owned()];
        for (line, expected) in [
            ("rest", vec!["restart"]),
            ("restart ", vec!["all", "api", "web"]),
            ("-s restart a", vec!["all", "api"]),
            ("start a", vec!["api", "::files"]),
            ("start --no-a", vec!["--no-autorestart", "--no-autostart", "--no-automation"]),
            ("logs --no-", vec!["--no-color"]),
            ("logs --nos", vec!["--nostream"]),
            ("start app.js -- x", vec!["::files"]),
            ("completion f", vec!["fish"]),
            ("jlist ", vec![]),
        ] {
            assert_eq!(candidates(&words(line), &names), expected, "{line}");
        }
    }

    #[test]
    fn completion_scripts_parse() {
        for (shell, program) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
            let text = script("ostler", shell);
            assert!(!text.contains("PROGRAM"));
            let Ok(mut child) = std::process::Command::new(program).arg("-n").stdin(std::process::Stdio::piped()).spawn() else {
                assert_ne!(program, "bash", "bash is needed for this test");
                continue;
            };
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{program}");
        }
    }
}
