//! Commands that the daemon runs for an app: hooks, probes, jobs.

use ostler_core::lifecycle::command::Command;
use ostler_core::message;
use serde_json::Value;

use super::AppContext;
use crate::values::describe_value;

/// Reads a command. A list is used word by word. A text is a file if that path exists (as for
/// `script`, with or without blanks). Otherwise it is a program if it has no blank, or a shell
/// command.
pub(super) fn command(value: &Value, base: &AppContext<'_>) -> Result<Command, String> {
    match value {
        Value::String(text) => from_text(text, base),
        Value::Array(words) => {
            let argv: Option<Vec<String>> = words.iter().map(|word| word.as_str().map(str::to_owned)).collect();
            match argv {
                Some(argv) if argv.first().is_some_and(|program| !program.trim().is_empty()) => Ok(Command { argv }),
                Some(_) => Err(message!("the command is empty")),
                None => Err(message!("expected a list of strings as the command")),
            }
        }
        other => Err(message!("expected a string or a list of strings as the command, found {found}", found = describe_value(other))),
    }
}

fn from_text(text: &str, base: &AppContext<'_>) -> Result<Command, String> {
    if text.trim().is_empty() {
        return Err(message!("the command is empty"));
    }
    let path = base.path(text);
    if (text.contains('/') || text.contains(char::is_whitespace)) && std::path::Path::new(&path).is_file() {
        return Ok(Command { argv: vec![path] });
    }
    if text.contains(char::is_whitespace) {
        return Ok(Command::shell(text));
    }
    // A deployment may create `./later.sh` later; if it is still missing at the start, the start
    // reports it.
    let argv = if text.contains('/') { vec![path] } else { vec![text.to_owned()] };
    Ok(Command { argv })
}
