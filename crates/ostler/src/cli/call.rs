//! Parsed command line of the user.

use serde_json::{Map, Value};

use super::shared_options::OptionUse;
use super::table::{AttributeEffect, Command, Opt};

/// Commands that use only their first arguments, and how many.
const USED_ARGUMENTS: &[(&str, usize)] =
    &[("env", 1), ("flush", 1), ("id", 1), ("monit", 1), ("pid", 1), ("scale", 2), ("sendSignal", 2), ("stats", 1)];

/// One parsed command line.
#[derive(Debug)]
pub(crate) struct Call {
    /// The command.
    pub command: &'static Command,
    /// Word by which the command was called (`ls`, `save`, …).
    pub word: String,
    /// Words that are neither options nor their values.
    pub targets: Vec<String>,
    /// Words after `--`, if the command line has a `--`.
    pub app_args: Option<Vec<String>>,
    /// Unknown option, if it is not an error here.
    pub passed_over: Option<String>,
    /// Options in the order in which they were given.
    pub(super) given: Vec<(&'static Opt, Option<String>)>,
}

impl Call {
    /// True if the option with this main long name was given.
    pub(crate) fn has(&self, long: &str) -> bool {
        self.given.iter().any(|(opt, _)| opt.long == long)
    }

    /// Returns the value of the option; the last value if it was given several times.
    pub(crate) fn value(&self, long: &str) -> Option<&str> {
        self.given.iter().rev().find(|(opt, _)| opt.long == long).and_then(|(_, value)| value.as_deref())
    }

    /// All its values.
    pub(crate) fn values(&self, long: &str) -> impl Iterator<Item = &str> {
        self.given.iter().filter(move |(opt, _)| opt.long == long).filter_map(|(_, value)| value.as_deref())
    }

    /// Returns the first argument that the command would ignore; as `pm2` it does ignore it.
    pub(crate) fn superfluous(&self) -> Option<&str> {
        let (_, used) = USED_ARGUMENTS.iter().find(|(command, _)| *command == self.command.name)?;
        self.targets.get(*used).map(String::as_str)
    }

    /// Returns the first option that has no effect with the command.
    pub(crate) fn without_effect(&self) -> Option<&'static Opt> {
        let has_effect = |opt: &Opt| {
            self.command.has_own(opt) || self.command.use_of(opt) != OptionUse::NoEffect || (opt.long == "parallel" && self.has("hosts"))
        };
        self.given.iter().map(|(opt, _)| *opt).find(|opt| !has_effect(opt))
    }

    /// Returns the first argument.
    pub(crate) fn target(&self) -> Option<&str> {
        self.targets.first().map(String::as_str)
    }

    /// Returns the command line again, with the command first and without these options, to start
    /// another `ostler` with it.
    pub(crate) fn words_without(&self, left_out: &[&str]) -> Vec<String> {
        let given = self.given.iter().filter(|(opt, _)| !left_out.contains(&opt.long));
        let option = |(opt, value): &(&Opt, Option<String>)| match value {
            Some(value) => format!("--{}={value}", opt.long),
            None => format!("--{}", opt.long),
        };
        // Options are last, because an option with an optional value would take a target as its
        // value.
        let words = std::iter::once(self.word.clone()).chain(self.targets.iter().cloned()).chain(given.map(option));
        let app_args = self.app_args.iter().flat_map(|args| std::iter::once("--".to_owned()).chain(args.iter().cloned()));
        words.chain(app_args).collect()
    }

    /// Returns the same options with another command and other targets.
    pub(crate) fn as_command(&self, name: &str, targets: Vec<String>) -> Option<Self> {
        let command = super::find(name)?;
        Some(Self { command, word: name.into(), targets, app_args: None, passed_over: None, given: self.given.clone() })
    }

    /// Returns the app attributes that options set, by main name, as in a config file.
    pub(crate) fn attributes(&self) -> Map<String, Value> {
        let mut map = Map::new();
        for (opt, value) in &self.given {
            let text = |v: &Option<String>| v.clone().map_or(Value::Bool(true), Value::String);
            match opt.sets {
                AttributeEffect::Nothing => {}
                AttributeEffect::Text(key) => drop(map.insert(key.into(), text(value))),
                AttributeEffect::Bool(key, fixed) => drop(map.insert(key.into(), Value::Bool(fixed))),
                AttributeEffect::List(key) => push(&mut map, key, value.as_deref()),
                AttributeEffect::Seconds(key) => drop(map.insert(key.into(), seconds(value.as_deref().unwrap_or_default()))),
            }
        }
        map
    }
}

/// Adds to a list attribute; without a value the attribute is just on.
fn push(map: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    let Some(value) = value else {
        map.entry(key).or_insert(Value::Bool(true));
        return;
    };
    match map.get_mut(key) {
        Some(Value::Array(list)) => list.push(value.into()),
        _ => drop(map.insert(key.into(), Value::Array(vec![value.into()]))),
    }
}

/// Converts a bare number from seconds to the milliseconds of files; a value with a unit is passed
/// on unchanged.
fn seconds(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) => Value::from(number.saturating_mul(1000)),
        Err(_) => Value::String(text.into()),
    }
}
