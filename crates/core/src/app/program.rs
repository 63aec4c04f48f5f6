//! Kind of an app's program, if its file name does not show it.

use serde::{Deserialize, Serialize};

/// Bytes of a script that are searched for a command that starts Node.
pub const SCRIPT_HEAD: usize = 64 * 1024;

/// Symbol that the Node binary exports and that Bun and Deno lack: `node::Start(int, char**)`.
pub const NODE_SYMBOL: &[u8] = b"_ZN4node5StartEiPPc";

/// Program that runs a script, as its file shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramKind {
    /// Node itself, under another name: it takes Node's options.
    Node,
    /// Deno, under another name.
    Deno,
    /// Bun, under another name.
    Bun,
    /// A program that starts Node: a script of Node such as `ts-node`, or a shell script with
    /// `exec node`. The options that ostler adds travel in `NODE_OPTIONS`.
    StartsNode,
}

impl ProgramKind {
    /// Returns the kind of a binary by the name of its file: `node`, `nodejs`, `node22`,
    /// `node-v20.1`.
    pub fn of_binary(name: &str) -> Option<Self> {
        match name {
            "deno" => Some(Self::Deno),
            "bun" => Some(Self::Bun),
            _ => is_node(name).then_some(Self::Node),
        }
    }

    /// Returns the kind of a script by its text. Returns none if it starts no Node, or if its `#!`
    /// line names another language.
    pub fn of_script(text: &str) -> Option<Self> {
        let program = text.strip_prefix("#!").and_then(|rest| shebang_program(rest.lines().next()?));
        let starts_node = match program {
            Some(program) if is_node(program) => true,
            Some(program) if is_shell(program) => runs_node(text),
            _ => false,
        };
        starts_node.then_some(Self::StartsNode)
    }

    /// Returns the kind of a text that a shell runs.
    pub fn of_shell_text(text: &str) -> Option<Self> {
        runs_node(text).then_some(Self::StartsNode)
    }
}

/// Returns true for a shell by the name of its file.
pub fn is_shell(name: &str) -> bool {
    matches!(name, "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh")
}

fn is_node(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("node") else { return false };
    let version = rest.strip_prefix("js").unwrap_or(rest).trim_start_matches(['-', '_']);
    version.strip_prefix('v').unwrap_or(version).chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Returns the file name of the program in a `#!` line, also behind `env`, its options and
/// variables.
fn shebang_program(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let name = |word: &'_ str| word.rsplit('/').next().map(str::len).map(|len| word.len() - len);
    let first = words.next()?;
    let first = &first[name(first)?..];
    if first != "env" {
        return Some(first);
    }
    let word = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    Some(&word[name(word)?..])
}

/// Returns true if a line of a shell script contains the word `node`, alone or at the end of a
/// path. Comments do not count.
fn runs_node(text: &str) -> bool {
    let ends_word = |c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '"' | '\'' | '`' | '{' | '}');
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| line.split(ends_word)).any(|word| is_node(word.rsplit('/').next().unwrap_or(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_binary_is_recognized_by_name() {
        for name in ["node", "nodejs", "node22", "node-22", "node-v20.11.1", "nodejs18"] {
            assert_eq!(ProgramKind::of_binary(name), Some(ProgramKind::Node), "{name}");
        }
        for name in ["nodemon", "ts-node", "python3", "node_exporter", "noded"] {
            assert_eq!(ProgramKind::of_binary(name), None, "{name}");
        }
    }

    #[test]
    fn script_that_starts_node_is_recognized_by_its_text() {
        let starts = [
            "#!/usr/bin/env node\nrequire('x')",
            "#!/usr/bin/env -S node --no-warnings\n",
            "#!/usr/bin/env -S A=1 nodejs\n",
            "#!/opt/node22/bin/node\n",
            "#!/bin/sh\nexec node \"$@\"\n",
            "#!/bin/bash\nset -e\n. ./env.sh && exec \"$NODE_HOME/bin/node\" app.js",
            "#!/usr/bin/env bash\n(cd x; node app.js)",
        ];
        for text in starts {
            assert_eq!(ProgramKind::of_script(text), Some(ProgramKind::StartsNode), "{text}");
        }
        let others = [
            "#!/bin/sh\nexec python3 \"$@\"\n",
            "#!/bin/sh\n# exec node\nexec ruby x",
            "#!/usr/bin/python3\nnode = 1 ; node",
            "exec node",
            "#!\n",
            "",
            "#!/bin/sh\n./node_exporter --x=node_1",
        ];
        for text in others {
            assert_eq!(ProgramKind::of_script(text), None, "{text}");
        }
        assert_eq!(ProgramKind::of_shell_text("PORT=1 node app.js"), Some(ProgramKind::StartsNode));
        assert_eq!(ProgramKind::of_shell_text("cargo run"), None);
    }
}
