//! Completion under the name `pm2`: the scripts and words stay the same, because start files of shells
//! contain the scripts.
//!
//! A script passes the words typed so far to `completion --complete` and offers what it prints. A
//! script of an older ostler does the same.

use super::super::commands::COMMANDS;
use super::super::lookup::find;
use super::super::options::GLOBAL;
use super::super::shared_options::OptionUse;
use super::super::table::{Command, Fits, Group, Opt};

pub(super) const BASH: &str = r#"_PROGRAM_complete() {
  local word="${COMP_WORDS[COMP_CWORD]}" line
  COMPREPLY=()
  while IFS= read -r line; do
    [ "$line" = "::files" ] && { compopt -o default 2>/dev/null; continue; }
    case "$line" in "$word"*) COMPREPLY+=("$(printf '%q' "$line")") ;; esac
  done < <(PROGRAM completion --complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _PROGRAM_complete PROGRAM
"#;

pub(super) const ZSH: &str = r#"_PROGRAM_complete() {
  local -a found
  local line
  while IFS= read -r line; do
    if [ "$line" = "::files" ]; then _files; else found+=("$line"); fi
  done < <(PROGRAM completion --complete -- "${words[@]:1:$((CURRENT - 1))}" 2>/dev/null)
  compadd -a found
}
compdef _PROGRAM_complete PROGRAM 2>/dev/null
"#;

pub(super) const FISH: &str = r#"function __PROGRAM_complete
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

/// Words that fit after a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Offered {
    Names,
    Files,
    Words(Vec<&'static str>),
    Nothing,
}

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
        return options(command, typed);
    }
    let offered = command.map(offered);
    let mut found: Vec<String> = match &offered {
        None => COMMANDS.iter().flat_map(|c| std::iter::once(c.name).chain(c.aliases.iter().copied())).map(str::to_owned).collect(),
        Some(Offered::Names) => names.iter().cloned().chain(["all".to_owned()]).collect(),
        Some(Offered::Files) => names.to_vec(),
        Some(Offered::Words(words)) => words.iter().map(|&word| word.to_owned()).collect(),
        Some(Offered::Nothing) => Vec::new(),
    };
    found.retain(|word| word.starts_with(typed));
    found.sort();
    found.dedup();
    if offered == Some(Offered::Files) {
        found.push("::files".into());
    }
    found
}

/// Returns the long options of a command, or of all commands.
fn options(command: Option<&Command>, typed: &str) -> Vec<String> {
    let is_useful = |opt: &&Opt| command.is_none_or(|command| matches!(command.use_of(opt), OptionUse::Everywhere | OptionUse::Used));
    let own = command.map_or(&[] as &[Opt], |command| command.options).iter().filter(|opt| opt.group != Group::Accepted);
    let all = own.chain(GLOBAL.iter().filter(is_useful)).filter(|opt| opt.long.len() > 1);
    let mut spellings: Vec<String> = all.map(|opt| format!("--{}", opt.long)).collect();
    spellings.retain(|spelling| spelling.starts_with(typed));
    spellings
}

/// Returns the kind of words that the scripts offer after a command, at every place.
fn offered(command: &Command) -> Offered {
    let first = command.completes.first().copied().unwrap_or_default();
    let words = first.iter().find_map(|fits| match fits {
        Fits::Words(words) => Some(words.iter().map(|word| word.word).collect()),
        _ => None,
    });
    let has_names = |place: &&[Fits]| place.contains(&Fits::Apps);
    match words {
        _ if first.contains(&Fits::Files) => Offered::Files,
        // PM2's `list` takes no names.
        _ if has_names(&first) && command.name != "list" => Offered::Names,
        Some(words) => Offered::Words(words),
        None if first.contains(&Fits::ConfigFiles) || first.contains(&Fits::Folders) => Offered::Files,
        None if command.completes.iter().skip(1).any(has_names) => Offered::Names,
        None => Offered::Nothing,
    }
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

    /// The tables of ostler's own completion must not change what PM2's scripts offer.
    #[test]
    fn each_command_offers_the_same_words_as_ever() {
        let is_in = |list: &str, command: &Command| list.split_whitespace().any(|name| name == command.name);
        let fixed = |command: &Command| match command.name {
            "rollout" => "status history undo",
            "startup" | "unstartup" => "systemd upstart systemv openrc launchd rcd rcd-openbsd smf",
            "service" => "run reload",
            "sandbox" => "learn",
            "export" => "dockerfile compose kubernetes systemd nomad github-actions gitlab-ci",
            "import" => "compose systemd procfile supervisor",
            "ecosystem" => "simple",
            "web" => "enable disable open status passwd token",
            "alerts" => "list history test silence unsilence channel",
            "completion" => "install uninstall bash zsh fish",
            "compat" => "install uninstall status",
            _ => "",
        };
        const NAMES: &str = "stop restart reload delete scale reset sendSignal trigger send attach inspect profile describe jobs why events \
                             errors logs monit stats env pid id health flush pull forward backward";
        const FILES: &str = "start dev startOrRestart startOrReload runtime serve validate diff migrate deploy install package publish";
        for command in COMMANDS {
            let expected = match fixed(command) {
                "" if is_in(NAMES, command) => Offered::Names,
                "" if is_in(FILES, command) => Offered::Files,
                "" => Offered::Nothing,
                words => Offered::Words(words.split(' ').collect()),
            };
            assert_eq!(offered(command), expected, "{}", command.name);
        }
    }
}
