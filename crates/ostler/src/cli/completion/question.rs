//! Question that the words of a command line ask: what fits at the cursor.

use super::super::parse::lookup;
use super::super::table::{Arg, Command, Fits, Opt, Places};
use super::Shell;
use super::bash_words::{BashLine, unquoted};
use super::options::{is_list, options, values};
use super::place::{Line, Place};
use super::suggestion::Suggestion;

/// Words that fit at the cursor, as far as the tables know them.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// Kinds of words that fit.
    pub fits: Vec<Fits>,
    /// Words that fit and are known already.
    pub known: Vec<Suggestion>,
    /// Typed part that stays before each word: `--only=a,`.
    pub lead: String,
    /// Typed part of the word.
    pub typed: String,
    /// Arguments before the cursor.
    pub arguments: Vec<String>,
    /// Words that are not offered again.
    pub taken: Vec<String>,
    /// Whether the word may begin with a dash, because it is a value and no argument.
    pub takes_dashes: bool,
    /// Config file that the command uses.
    pub file: Option<String>,
    /// How bash writes the word.
    pub bash: BashLine,
}

/// Returns the question that the words of a shell's script ask. The scripts describe which words
/// they pass.
pub(crate) fn question(shell: Shell, words: &[String]) -> Question {
    match shell {
        Shell::Bash => {
            let bash = BashLine::read(words);
            if bash.is_redirection {
                return Question { fits: vec![Fits::Files], typed: bash.typed.clone(), bash, ..Question::default() };
            }
            let (before, typed) = (bash.before.clone(), bash.typed.clone());
            Question { bash, ..of_words(&before, &typed) }
        }
        Shell::Zsh => {
            let (typed, before) = words.split_last().map_or(("", &[][..]), |(typed, before)| (typed.as_str(), before));
            of_words(&without_empty(before), typed)
        }
        Shell::Fish => {
            let (typed, before) = words.split_last().map_or(("", &[][..]), |(typed, before)| (typed.as_str(), before));
            of_words(&without_program(before), &unquoted(typed))
        }
    }
}

/// Removes empty words, which a shell may pass for an empty list.
fn without_empty(words: &[String]) -> Vec<String> {
    words.iter().filter(|word| !word.is_empty()).cloned().collect()
}

/// Removes the program, and assignments before it (`HOME=/x ostler`).
fn without_program(words: &[String]) -> Vec<String> {
    let is_assignment = |word: &&String| word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && !name.starts_with('-'));
    without_empty(words).iter().skip_while(is_assignment).skip(1).cloned().collect()
}

fn of_words(before: &[String], typed: &str) -> Question {
    let line = Line::read(before);
    let with_value = typed.strip_prefix("--").and_then(|rest| rest.split_once('='));
    let mut question = match (&line.place, with_value) {
        (Place::Unknown, _) => Question::default(),
        (Place::OfApp, _) => Question { fits: vec![Fits::Files], typed: typed.to_owned(), ..Question::default() },
        (Place::Value { opt, is_optional: false }, _) => of_value(line.command, opt, "", typed),
        (_, Some((long, value))) => attached(&line, long, value),
        _ if typed.starts_with('-') => {
            Question { known: options(line.command, &line.given), typed: typed.to_owned(), ..Question::default() }
        }
        (Place::Value { opt, .. }, _) => with_arguments(&line, of_value(line.command, opt, "", typed)),
        (Place::Command, _) => Question { fits: vec![Fits::Commands], typed: typed.to_owned(), ..Question::default() },
        (Place::Argument, _) => with_arguments(&line, Question { typed: typed.to_owned(), ..Question::default() }),
    };
    let named = line.arguments.iter().find(|word| ostler_config::find::is_config_name(word)).map(String::as_str);
    question.file = line.value("file").or(named).map(str::to_owned);
    question.arguments = line.arguments;
    question
}

/// Returns the question about the value of `--option=value`.
fn attached(line: &Line, long: &str, value: &str) -> Question {
    let found = lookup(line.command, |opt| opt.long.len() > 1 && (opt.long == long || opt.aliases.contains(&long)));
    match found.filter(|opt| opt.arg != Arg::None) {
        Some(opt) => of_value(line.command, opt, &format!("--{long}="), value),
        None => Question::default(),
    }
}

fn of_value(command: Option<&Command>, opt: &Opt, lead: &str, typed: &str) -> Question {
    let (list, typed) = match typed.rsplit_once(',').filter(|_| is_list(opt)) {
        Some((list, last)) => (format!("{list},"), last),
        None => (String::new(), typed),
    };
    let taken = list.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let lead = format!("{lead}{list}");
    Question { fits: values(command, opt).to_vec(), lead, typed: typed.to_owned(), taken, takes_dashes: true, ..Question::default() }
}

/// Adds the words that fit as the next argument.
fn with_arguments(line: &Line, mut question: Question) -> Question {
    let Some(command) = line.command else { return question };
    let (places, skipped) = places(command.completes, &line.arguments);
    let is_repeated = command.args.contains("...");
    // The file of `deploy FILE production setup` is optional.
    let named =
        usize::from(command.name == "deploy" && line.arguments.first().is_some_and(|word| ostler_config::find::is_config_name(word)));
    let at = line.arguments.len().saturating_sub(skipped + named);
    let place = places.get(at).or_else(|| places.last().filter(|_| is_repeated)).copied().unwrap_or_default();
    question.fits.extend(place);
    if is_repeated {
        question.taken.extend(line.arguments.iter().cloned());
    }
    question
}

/// Returns the places after the last word that leads to places of its own, and the number of
/// arguments up to that word.
fn places(all: Places, arguments: &[String]) -> (Places, usize) {
    let next = |(places, skipped): (Places, usize)| {
        let argument = arguments.get(skipped)?;
        let words = places.first()?.iter().filter_map(|fits| match fits {
            Fits::Words(words) => Some(words.iter()),
            _ => None,
        });
        let leading = words.flatten().find(|word| word.word == argument && !word.then.is_empty())?;
        Some((leading.then, skipped + 1))
    };
    std::iter::successors(Some((all, 0)), |state| next(*state)).last().unwrap_or((all, 0))
}

#[cfg(test)]
mod tests {
    use super::super::super::commands::COMMANDS;
    use super::super::super::table::Availability;
    use super::*;

    fn of(line: &str) -> Question {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        question(Shell::Zsh, &words)
    }

    const TARGETS: &[Fits] = &[Fits::Apps, Fits::Namespaces, Fits::Ids, Fits::All, Fits::ConfigFiles];

    #[test]
    fn kinds_of_words_follow_command_and_place() {
        for (line, fits, lead) in [
            ("", &[Fits::Commands][..], ""),
            ("re", &[Fits::Commands], ""),
            ("restart ", TARGETS, ""),
            ("restart api ", TARGETS, ""),
            ("describe api ", &[], ""),
            ("sendSignal ", &[Fits::Signals], ""),
            ("sendSignal SIGHUP ", &[Fits::Apps, Fits::Ids], ""),
            ("rollout undo ", &[Fits::Apps], ""),
            ("rollout undo api ", &[], ""),
            ("rollout undo api --to ", &[Fits::Releases], ""),
            ("alerts channel remove ", &[Fits::Channels], ""),
            ("alerts silence ", &[Fits::Apps, Fits::All], ""),
            ("jobs run ", &[Fits::Apps, Fits::Ids], ""),
            ("set ", &[Fits::Settings], ""),
            ("set log_rotate:compress ", &[Fits::SettingValues], ""),
            ("unset ", &[Fits::ChangedSettings], ""),
            ("start app.js --kill-signal ", &[Fits::Signals], ""),
            ("start app.js --kill-signal=SIG", &[Fits::Signals], "--kill-signal="),
            ("start --only a,b", &[Fits::ProjectApps], "a,"),
            ("start --only=a,b,", &[Fits::ProjectApps], "--only=a,b,"),
            ("list --hosts web1,", &[Fits::Hosts], "web1,"),
            ("start app.js -- ", &[Fits::Files], ""),
            ("deploy ", &[Fits::DeployEnvironments, Fits::ConfigFiles], ""),
            ("deploy eco.config.js ", &[Fits::DeployEnvironments, Fits::ConfigFiles], ""),
            ("jlist ", &[], ""),
            ("nonsense ", &[], ""),
            ("start --nonsense=", &[], ""),
        ] {
            let question = of(line);
            assert_eq!((question.fits.as_slice(), question.lead.as_str()), (fits, lead), "{line:?}");
        }
        assert!(matches!(of("deploy production ").fits[..], [Fits::Words(_)]));
        assert!(matches!(of("deploy eco.config.js production ").fits[..], [Fits::Words(_)]));
        assert!(matches!(of("alerts channel ").fits[..], [Fits::Words(_)]));
    }

    #[test]
    fn options_of_the_command_are_offered_once() {
        let names = |line: &str| of(line).known.into_iter().map(|known| known.word).collect::<Vec<_>>();
        let all = names("logs --");
        assert!(
            all.contains(&"--lines".to_owned()) && all.contains(&"--json".to_owned()) && !all.contains(&"--watch".to_owned()),
            "{all:?}"
        );
        assert!(!names("logs --json -").contains(&"--json".to_owned()));
        assert!(names("logs --lines 3 --").contains(&"--lines".to_owned()));
        assert!(names("-").contains(&"--json".to_owned()));
        let about = of("logs --").known.into_iter().find(|known| known.word == "--lines").map(|known| known.about);
        assert!(about.is_some_and(|about| about.contains("number of past lines")));
    }

    #[test]
    fn arguments_of_a_list_are_taken() {
        assert_eq!(of("stop api web ").taken, ["api", "web"]);
        assert_eq!(of("start --only=a,b,").taken, ["a", "b"]);
        assert!(of("describe api").taken.is_empty());
    }

    #[test]
    fn file_of_the_command_is_known() {
        assert_eq!(of("start ../x/eco.config.js --env ").file.as_deref(), Some("../x/eco.config.js"));
        assert_eq!(of("up --file compose.yaml ").file.as_deref(), Some("compose.yaml"));
        assert_eq!(of("start app.js --env ").file, None);
    }

    #[test]
    fn fish_passes_the_program_and_quotes() {
        let words = ["A=b", "ostler", "restart", "'my a"].map(str::to_owned);
        let question = question(Shell::Fish, &words);
        assert_eq!((question.fits.as_slice(), question.typed.as_str()), (TARGETS, "my a"));
    }

    /// The help of each command lists the words that it takes.
    #[test]
    fn places_agree_with_the_help() {
        let is_in = |args: &str, name: &str| args.split(|c: char| !c.is_alphanumeric()).any(|part| part == name);
        for command in COMMANDS.iter().filter(|command| matches!(command.state, Availability::Works)) {
            let all: Vec<Fits> = command.completes.iter().flat_map(|place| place.iter().copied()).collect();
            let has = |fits: &[Fits]| fits.iter().any(|fits| all.contains(fits));
            let args = command.args;
            if is_in(args, "namespace") {
                assert!(has(&[Fits::Namespaces]), "{}", command.name);
            }
            if is_in(args, "id") {
                assert!(has(&[Fits::Ids, Fits::ErrorIds]), "{}", command.name);
            }
            assert_eq!(is_in(args, "all"), has(&[Fits::All]), "{}", command.name);
            assert_eq!(
                is_in(args, "file"),
                has(&[Fits::Files, Fits::ConfigFiles]) && !has(&[Fits::Modules]) && command.name != "install",
                "{}",
                command.name
            );
        }
    }
}
