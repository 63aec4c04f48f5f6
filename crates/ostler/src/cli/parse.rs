//! Words to [`Call`].
//!
//! The parser makes two passes over the same words. The first pass finds the command, because
//! options may precede it. The second pass knows the command and its own options. Everything after
//! the first `--` belongs to the app.
//!
//! PM2 misreads three kinds of command lines. This parser differs there:
//!
//! - An option with an optional value does not swallow the script (`start --watch app.js`).
//! - `--stop-exit-codes 3 4` takes both codes.
//! - `scale app -1` does not read `-1` as an unknown option.

use std::ffi::OsString;
use std::path::Path;

use ostler_core::message;

use super::call::Call;
use super::commands::COMMANDS;
use super::lookup::{closest_name, find};
use super::options::GLOBAL;
use super::table::{Arg, Command, Opt};
use crate::error::UsageError;

/// Result of parsing a command line.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// Run this.
    Run(Call),
    /// Help: of one command, or of the program.
    Help(Option<&'static Command>),
    /// The version.
    Version,
}

/// Parses the words after the program name.
///
/// # Errors
/// Returns a [`UsageError`]; nothing was done.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Parsed, UsageError> {
    understand(words, false)
}

/// [`parse`] for PM2's program for containers. All words belong to one command, with or without
/// `start`, and unknown options are skipped.
///
/// # Errors
/// Returns a [`UsageError`]; nothing was done.
pub(crate) fn parse_runtime(words: Vec<OsString>) -> Result<Parsed, UsageError> {
    understand(std::iter::once("runtime".into()).chain(words).collect(), true)
}

fn understand(words: Vec<OsString>, passes_over: bool) -> Result<Parsed, UsageError> {
    let mut words = words
        .into_iter()
        .map(|word| word.into_string().map_err(|bad| UsageError::NotText { shown: bad.to_string_lossy().into_owned() }))
        .collect::<Result<Vec<_>, _>>()?;
    let app_args = words.iter().position(|word| word == "--").map(|at| {
        let rest = words.split_off(at);
        rest.into_iter().skip(1).collect::<Vec<_>>()
    });
    let first = Scan::run(&words, None)?;
    // `down -v` is Compose's: an option of the command takes precedence over a global option.
    let command = first.positional.first().and_then(|word| find(word));
    let is_own = command.is_some_and(|command| command.options.iter().any(|opt| opt.short == Some('v')));
    if first.has("version") && !is_own || first.has("V") {
        return Ok(Parsed::Version);
    }
    let Some(word) = first.positional.first() else {
        return match first.unknown {
            Some(error) => Err(error),
            None if first.has("help") => Ok(Parsed::Help(None)),
            None => Err(UsageError::NoCommand),
        };
    };
    let Some(command) = find(word) else {
        if first.has("help") {
            return Ok(Parsed::Help(None));
        }
        return Err(UsageError::UnknownCommand { word: word.clone(), closest: closest_name(word) });
    };
    if first.has("help") {
        return Ok(Parsed::Help(Some(command)));
    }
    let mut scan = Scan::run(&words, Some(command))?;
    let passed_over = match scan.unknown.take() {
        Some(UsageError::UnknownOption { word, .. }) if passes_over => Some(word),
        Some(error) => return Err(error),
        None => None,
    };
    if scan.has("version") {
        return Ok(Parsed::Version);
    }
    scan.give_back_target(command);
    let word = scan.positional.remove(0);
    // PM2's program for containers accepts `runtime start app.js`. If `start` is the only word, it
    // is the name of a file.
    let starts = command.name == "runtime" && scan.positional.first().is_some_and(|word| word == "start");
    if starts && (scan.positional.len() > 1 || !Path::new("start").exists()) {
        scan.positional.remove(0);
    }
    let app_args = app_args.filter(|args| !args.is_empty());
    let call = Call { command, word, targets: scan.positional, app_args, passed_over, given: scan.given };
    check_count(&call)?;
    Ok(Parsed::Run(call))
}

/// Returns the error about a missing argument, with an example of the command.
pub(crate) fn missing_argument(name: String, command: &'static str) -> UsageError {
    let example = find(command).and_then(|command| command.examples.first().copied());
    UsageError::MissingArgument { name, command, example }
}

fn check_count(call: &Call) -> Result<(), UsageError> {
    let count = call.targets.len() + call.app_args.as_ref().map_or(0, |args| if call.command.name == "scale" { args.len() } else { 0 });
    if count < call.command.min_args {
        let name = call.command.args.split_whitespace().nth(count).unwrap_or(call.command.args);
        let name = name.trim_matches(['<', '>', '[', ']']).trim_end_matches("...").to_owned();
        return Err(missing_argument(name, call.command.name));
    }
    match call.command.max_args.and_then(|most| call.targets.get(most)) {
        Some(word) => Err(UsageError::UnknownArgument { word: word.clone() }),
        None => Ok(()),
    }
}

/// One pass over the words.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) positional: Vec<String>,
    pub(super) given: Vec<(&'static Opt, Option<String>)>,
    /// First unknown option. It is kept because only the second pass, which knows the command, can
    /// reject it.
    unknown: Option<UsageError>,
    /// Index in `given` of the last option that took the next word as its value although the value
    /// is optional.
    tentative: Option<usize>,
}

impl Scan {
    /// Reads the words, for a command if it is known.
    ///
    /// # Errors
    /// Returns a [`UsageError`] if an option has no value, or a value that it does not take.
    pub(super) fn run(words: &[String], command: Option<&'static Command>) -> Result<Self, UsageError> {
        let mut scan = Self::default();
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(arg) = parser.next().map_err(in_words)? {
            match arg {
                lexopt::Arg::Value(word) => scan.positional.push(text(word)?),
                lexopt::Arg::Short(digit) if digit.is_ascii_digit() => {
                    let rest = parser.optional_value().map(text).transpose()?.unwrap_or_default();
                    scan.positional.push(format!("-{digit}{rest}"));
                }
                lexopt::Arg::Short(letter) => match lookup(command, |opt| opt.short == Some(letter)) {
                    Some(opt) => scan.take(opt, &mut parser, command)?,
                    None => scan.not_known(format!("-{letter}"), &mut parser, command)?,
                },
                lexopt::Arg::Long(long) => {
                    let long = long.to_owned();
                    match lookup(command, |opt| opt.long.len() > 1 && opt.long == long || opt.aliases.contains(&long.as_str())) {
                        Some(opt) => {
                            if command.is_none() && matches!(opt.arg, Arg::None | Arg::Attached(_)) {
                                // The option may belong to another command whose option of this
                                // name has a value.
                                let had = parser.optional_value().is_some();
                                if !had && scan.is_value_of_another(&long, next_word(&mut parser)) {
                                    let _ = parser.value();
                                }
                            }
                            scan.take(opt, &mut parser, command)?;
                        }
                        None => scan.not_known(format!("--{long}"), &mut parser, command)?,
                    }
                }
            }
        }
        Ok(scan)
    }

    /// Returns true if the command is not known yet and this word is no command. Some command must
    /// also have an option of this name with a value.
    fn is_value_of_another(&self, long: &str, word: Option<String>) -> bool {
        let Some(word) = word.filter(|word| self.positional.is_empty() && !word.starts_with('-')) else { return false };
        find(&word).is_none()
            && COMMANDS.iter().flat_map(|c| c.options).any(|opt| opt.long == long && !matches!(opt.arg, Arg::None | Arg::Attached(_)))
    }

    fn has(&self, long: &str) -> bool {
        self.given.iter().any(|(opt, _)| opt.long == long)
    }

    fn not_known(&mut self, word: String, parser: &mut lexopt::Parser, command: Option<&'static Command>) -> Result<(), UsageError> {
        // `--nosuch=value` and `-zvalue`: the rest of the word belongs to the unknown option.
        if word.starts_with("--") {
            let _ = parser.optional_value();
        }
        let closest = ostler_config::keys::closest(word.trim_start_matches('-'), spellings(command)).filter(|_| word.starts_with("--"));
        self.unknown.get_or_insert(UsageError::UnknownOption { word, closest: closest.map(|long| format!("--{long}")) });
        Ok(())
    }

    fn take(&mut self, opt: &'static Opt, parser: &mut lexopt::Parser, command: Option<&'static Command>) -> Result<(), UsageError> {
        let attached = match opt.arg {
            // `-sm` is `-s -m`: a flag does not use the rest of its word. lexopt itself rejects
            // `--silent=x`.
            Arg::None => None,
            _ => parser.optional_value().map(text).transpose()?,
        };
        let value = match (opt.arg, attached) {
            (Arg::Numbers(_), attached) => return self.take_numbers(opt, attached, parser),
            (Arg::None, _) | (Arg::Attached(_), None) => None,
            (Arg::Attached(only), Some(value)) if value != only => {
                return Err(UsageError::BadValue {
                    option: format!("--{}", opt.long),
                    reason: message!("expected nothing, or `={value}`", value = only),
                });
            }
            (_, Some(value)) => Some(value),
            (Arg::Required(_), None) => Some(text(parser.value().map_err(|_| missing(opt))?)?),
            (Arg::Optional(_) | Arg::OptionalNumber(_), None) => {
                let taken = next_word(parser).filter(|word| self.may_take(opt, word, command));
                if taken.is_some() {
                    let _ = parser.value();
                    self.tentative = Some(self.given.len());
                }
                taken
            }
        };
        self.given.push((opt, value));
        Ok(())
    }

    /// Reads the values of `--stop-exit-codes 3 4`, `3,4` and `"3 4"`.
    fn take_numbers(&mut self, opt: &'static Opt, attached: Option<String>, parser: &mut lexopt::Parser) -> Result<(), UsageError> {
        let is_list =
            |word: &str| word.bytes().any(|b| b.is_ascii_digit()) && word.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b' ');
        let mut list = match attached {
            Some(list) => list,
            None => text(parser.value().map_err(|_| missing(opt))?)?,
        };
        while let Some(word) = next_word(parser).filter(|word| is_list(word)) {
            let _ = parser.value();
            list = format!("{list},{word}");
        }
        self.given.extend(list.split([',', ' ']).filter(|code| !code.is_empty()).map(|code| (opt, Some(code.to_owned()))));
        Ok(())
    }

    /// Returns true if an option with an optional value may take this word.
    fn may_take(&self, opt: &Opt, word: &str, command: Option<&'static Command>) -> bool {
        if word.starts_with('-') && word.len() > 1 {
            return false;
        }
        if matches!(opt.arg, Arg::OptionalNumber(_)) {
            return word.bytes().all(|b| b.is_ascii_digit()) && !word.is_empty();
        }
        if self.positional.is_empty() && find(word).is_some() {
            return false;
        }
        // In `restart --watch api`, `--watch` is a switch; in `restart api --watch lib`, it takes a
        // path.
        let has_target = self.positional.len() > 1;
        opt.long != "watch" || has_target || command.is_none_or(|command| command.name.starts_with("start"))
    }

    /// Makes the value the target in `start --watch app.js`: no other target is left and the value
    /// is a file.
    fn give_back_target(&mut self, command: &Command) {
        let wants_target = command.min_args > 0 || matches!(command.name, "start" | "runtime");
        if self.positional.len() > 1 || !wants_target {
            return;
        }
        let Some((_, value)) = self.tentative.and_then(|at| self.given.get_mut(at)) else { return };
        if value.as_deref().is_some_and(|word| !word.ends_with(".log") && Path::new(word).is_file()) {
            self.positional.extend(value.take());
        }
    }
}

/// Returns the option that matches: of the command, or a global one.
pub(super) fn lookup(command: Option<&'static Command>, matches: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
    let own = command.map_or(&[] as &[Opt], |command| command.options);
    let found = own.iter().chain(GLOBAL).find(|opt| matches(opt));
    // Before the command is known, an option of any command is good enough to step over it.
    found.or_else(|| if command.is_none() { COMMANDS.iter().flat_map(|c| c.options).find(|opt| matches(opt)) } else { None })
}

fn spellings(command: Option<&'static Command>) -> impl Iterator<Item = &'static str> {
    let own = command.map_or(&[] as &[Opt], |command| command.options);
    own.iter().chain(GLOBAL).flat_map(|opt| std::iter::once(opt.long).chain(opt.aliases.iter().copied()))
}

fn next_word(parser: &mut lexopt::Parser) -> Option<String> {
    parser.try_raw_args()?.peek()?.to_str().map(str::to_owned)
}

fn text(word: OsString) -> Result<String, UsageError> {
    word.into_string().map_err(|bad| UsageError::NotText { shown: bad.to_string_lossy().into_owned() })
}

fn missing(opt: &Opt) -> UsageError {
    let value = match opt.arg {
        Arg::Required(name) | Arg::Numbers(name) | Arg::Optional(name) | Arg::OptionalNumber(name) | Arg::Attached(name) => name,
        Arg::None => "",
    };
    UsageError::MissingValue { option: format!("--{} <{value}>", opt.long) }
}

fn in_words(error: lexopt::Error) -> UsageError {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => UsageError::UnwantedValue { option },
        other => UsageError::BadValue { option: "?".into(), reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use serde_json::{Value, json};

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        // `|` stands for a blank inside of a word.
        line.split_whitespace().map(|word| word.replace('|', " ").into()).collect()
    }

    fn call(line: &str) -> Call {
        match parse(words(line)) {
            Ok(Parsed::Run(call)) => call,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn error(line: &str) -> String {
        match parse(words(line)) {
            Err(error) => error.to_string(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_parse_before_and_after_the_command() {
        for line in [
            "start app.js --name x",
            "--name x start app.js",
            "start --name x app.js",
            "start -n x app.js",
            "-nx start app.js",
            "start app.js --name=x",
            "start app.js -n=x",
        ] {
            let call = call(line);
            assert_eq!((call.command.name, call.value("name")), ("start", Some("x")), "{line}");
            assert_eq!(call.targets, ["app.js"], "{line}");
        }
    }

    #[test]
    fn shared_option_takes_the_form_of_its_command() {
        assert_eq!(call("health api --wait=60s").value("wait"), Some("60s"));
        assert_eq!(call("--wait 60s health api").value("wait"), Some("60s"));
        assert!(call("up --wait").has("wait"));
        assert!(call("--wait up").has("wait"));
        assert_eq!(error("up --wait=60s"), "option `--wait' takes no value");
    }

    #[test]
    fn options_map_to_config_file_keys() {
        for (line, expected) in [
            ("start a.js -i max", json!({"instances": "max"})),
            ("start a.js -i -1", json!({"instances": "-1"})),
            ("start a.js -i4", json!({"instances": "4"})),
            ("start a.js -sxm", json!({"execute_command": true})),
            ("start a.js --no-autorestart --no-treekill", json!({"autorestart": false, "treekill": false})),
            ("restart a --autorestart", json!({"autorestart": true})),
            ("start a.js --interpreter-args --inspect", json!({"node_args": "--inspect"})),
            ("start a.js --node-args=--max-old-space-size=100|--inspect", json!({"node_args": "--max-old-space-size=100 --inspect"})),
            ("start a.js -l", json!({"log_file": true})),
            ("start a.js -l out.log", json!({"log_file": "out.log"})),
            ("start a.js --watch", json!({"watch": true})),
            ("start a.js --watch src --watch lib", json!({"watch": ["src", "lib"]})),
            ("start --watch src a.js", json!({"watch": ["src"]})),
            ("start a.js --watch --ignore-watch node_modules", json!({"watch": true, "ignore_watch": "node_modules"})),
            ("start a.js --watch-delay 4", json!({"watch_delay": 4000})),
            ("start a.js --watch-delay 300ms", json!({"watch_delay": "300ms"})),
            ("start a.js --max-restarts 5", json!({"max_restarts": "5"})),
            ("start --max-restarts a.js", json!({"max_restarts": true})),
            ("start a.js --stop-exit-codes 3 4", json!({"stop_exit_codes": ["3", "4"]})),
            ("start a.js --stop-exit-codes 3,4", json!({"stop_exit_codes": ["3", "4"]})),
            ("start --stop-exit-codes 3 a.js", json!({"stop_exit_codes": ["3"]})),
            ("start a.js --stop-exit-codes=0", json!({"stop_exit_codes": ["0"]})),
            ("start a.js --filter-env AWS --filter-env SSH", json!({"filter_env": ["AWS", "SSH"]})),
            ("start a.js -c 0|*|*|*|*", json!({"cron_restart": "0 * * * *"})),
            ("start a.js --cron 0", json!({"cron_restart": "0"})),
            ("start a.js -u www --gid 5", json!({"uid": "www", "gid": "5"})),
            ("start a.js --env production --only x --force --json", json!({})),
        ] {
            assert_eq!(Value::Object(call(line).attributes()), expected, "{line}");
            assert_eq!(call(line).targets.len(), 1, "{line}");
        }
    }

    #[test]
    fn words_after_double_dash_are_app_arguments() {
        let two = call("start app.js --name x -- --name y -- z");
        assert_eq!(two.app_args, Some(vec!["--name".into(), "y".into(), "--".into(), "z".into()]));
        assert_eq!((two.value("name"), two.targets.as_slice()), (Some("x"), ["app.js".to_owned()].as_slice()));
        assert_eq!(call("start app.js --").app_args, None);
        assert_eq!(call("start app.js -- app.js").targets, ["app.js"]);
        assert_eq!(call("scale app -- -1").app_args, Some(vec!["-1".into()]));
    }

    #[test]
    fn negative_numbers_are_targets() {
        assert_eq!(call("scale app -1").targets, ["app", "-1"]);
        assert_eq!(call("scale app -12").targets, ["app", "-12"]);
        assert_eq!(call("scale app +1").targets, ["app", "+1"]);
        assert_eq!(call("stop -").targets, ["-"]);
    }

    #[test]
    fn optional_value_never_consumes_the_target() {
        let dir = std::env::temp_dir().join(format!("ostler-parse-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("src")).unwrap();
        let script = dir.join("app.js");
        std::fs::write(&script, "").unwrap();
        let (script, folder) = (script.to_str().unwrap(), dir.join("src"));
        let watched = call(&format!("start --watch {script}"));
        assert_eq!(watched.targets, [script]);
        assert_eq!(watched.attributes().get("watch"), Some(&json!(true)));
        let folder = folder.to_str().unwrap();
        let default = call(&format!("start --watch {folder}"));
        assert!(default.targets.is_empty());
        assert_eq!(default.attributes().get("watch"), Some(&json!([folder])));
        assert_eq!(call("restart --watch api").targets, ["api"]);
        assert_eq!(call("stop --watch api").targets, ["api"]);
        let of_path = call("restart api --watch lib");
        assert_eq!((of_path.targets.as_slice(), of_path.attributes().get("watch")), (&["api".to_owned()][..], Some(&json!(["lib"]))));
        assert_eq!(call("restart api web --watch").targets, ["api", "web"]);
        assert_eq!(call("--watch start a.js").targets, ["a.js"]);
        assert_eq!(call("logs --highlight error api").value("highlight"), Some("error"));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn aliases_resolve_to_commands() {
        for (line, name) in [
            ("ls", "list"),
            ("status", "list"),
            ("del x", "delete"),
            ("dump", "save"),
            ("show 0", "describe"),
            ("init", "ecosystem"),
            ("log", "logs"),
            ("updatePM2", "update"),
        ] {
            assert_eq!(call(line).command.name, name, "{line}");
        }
        assert_eq!(call("logs web --lines 100 --err --nostream").value("lines"), Some("100"));
        assert_eq!(call("--lines 100 logs web").targets, ["web"]);
    }

    #[test]
    fn help_and_version_take_precedence() {
        for line in ["-v", "-V", "--version", "list --version"] {
            assert!(matches!(parse(words(line)), Ok(Parsed::Version)), "{line}");
        }
        assert!(matches!(parse(words("-h")), Ok(Parsed::Help(None))));
        assert!(matches!(parse(words("start -h")), Ok(Parsed::Help(Some(command))) if command.name == "start"));
        assert!(matches!(parse(words("scale --help")), Ok(Parsed::Help(Some(_)))));
        assert_eq!(error(""), "no command given");
    }

    #[test]
    fn usage_errors_name_the_mistake() {
        for (line, text) in [
            ("list --nosuch", "unknown option `--nosuch'"),
            ("list --nosuch=3", "unknown option `--nosuch'"),
            ("list -Z", "unknown option `-Z'"),
            ("--nosuch", "unknown option `--nosuch'"),
            ("list --lines 3", "unknown option `--lines'"),
            ("start a.js --name", "option `--name <name>' argument missing"),
            ("start a.js --silent=yes", "option `--silent' takes no value"),
            ("stop", "missing required argument `id|name|namespace|all|file|stdin'"),
            ("scale app", "missing required argument `number'"),
            ("save x", "Unknown command argument: x"),
            ("kill x", "Unknown command argument: x"),
            ("nosuch", "Command not found"),
        ] {
            assert_eq!(error(line), text, "{line}");
        }
        let meant = |line: &str| match parse(words(line)) {
            Err(UsageError::UnknownOption { closest, .. }) => closest,
            Err(UsageError::UnknownCommand { closest, .. }) => closest.map(str::to_owned),
            other => panic!("{other:?}"),
        };
        assert_eq!(meant("start a.js --max-restart 3"), Some("--max-restarts".into()));
        assert_eq!(meant("restrt all"), Some("restart".into()));
        assert_eq!(meant("xyzzy"), None);
        let bad = parse(vec!["start".into(), OsString::from_vec(vec![b'a', 0xff])]);
        assert!(matches!(bad, Err(UsageError::NotText { .. })));
    }

    #[test]
    fn command_table_has_no_conflicts() {
        let mut names: Vec<&str> = COMMANDS.iter().flat_map(|c| std::iter::once(c.name).chain(c.aliases.iter().copied())).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a command name is used twice");
        // Letters that Compose, foreman or `list` has, and that mean something else for every other
        // command.
        const OF_COMPOSE: &[(&str, char)] = &[
            ("up", 'f'),
            ("up", 'p'),
            ("down", 'f'),
            ("down", 'p'),
            ("down", 'v'),
            ("list", 'f'),
            ("list", 'a'),
            ("top", 'a'),
            ("import", 'p'),
        ];
        for command in COMMANDS {
            let spelled = |opt: &Opt, is_global: bool| {
                let longs = std::iter::once(opt.long).chain(opt.aliases.iter().copied()).map(str::to_owned);
                let letter = opt.short.filter(|letter| opt.long.len() > 1 && !(is_global && OF_COMPOSE.contains(&(command.name, *letter))));
                longs.chain(letter.map(|letter| letter.to_string())).collect::<Vec<_>>()
            };
            let own = command.options.iter().flat_map(|opt| spelled(opt, false));
            // An own option of the same name replaces a global one, also its letter.
            let is_replaced = |opt: &&Opt| command.options.iter().any(|own| own.long == opt.long && own.short == opt.short);
            let global = GLOBAL.iter().filter(|opt| !is_replaced(opt)).flat_map(|opt| spelled(opt, true));
            let mut spellings: Vec<String> = own.chain(global).collect();
            let count = spellings.len();
            spellings.sort();
            spellings.dedup();
            assert_eq!(spellings.len(), count, "an option of {} is spelled like another", command.name);
            for example in command.examples {
                let line = example.split('>').next().unwrap_or(example);
                assert!(matches!(parse(words(line)), Ok(Parsed::Run(_))), "{example}");
            }
        }
    }

    #[test]
    fn every_pm2_command_is_known() {
        let all = "start trigger deploy startOrRestart startOrReload startOrGracefulReload pid create stop restart scale profile:mem \
                   profile:cpu reload id inspect delete sendSignal ping updatePM2 update install module:update module:generate uninstall \
                   package publish set multiset get conf config unset report link unlink monitor unmonitor open plus login logout dump \
                   cleardump send attach resurrect unstartup startup logrotate ecosystem reset describe desc info show env list l ps \
                   status jlist slist prettylist monit imonit dashboard flush reloadLogs logs kill pull forward backward deepUpdate serve \
                   autoinstall examples install-otel uninstall-otel del module:install module:uninstall module:publish register save init \
                   ls sysinfos dash expose completion log";
        for name in all.split_whitespace() {
            assert!(find(name).is_some(), "{name}");
        }
    }
}
