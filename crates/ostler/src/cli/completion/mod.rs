//! Completion: scripts for the shells, and the words that fit at the cursor.
//!
//! The scripts contain no list of words. They pass the words typed so far to
//! `completion --complete`, which answers with the words that fit. [`question`] reads the words and
//! finds what fits there, [`answer`] writes the found words for the shell. Both are pure; the command
//! itself asks the daemon and reads files.

mod answer;
mod bash_words;
mod fixed;
mod options;
mod place;
mod pm2;
mod question;
mod scripts;
mod suggestion;

pub(crate) use answer::answer;
pub(crate) use fixed::fixed_words;
pub(crate) use options::values as option_values;
pub(crate) use pm2::candidates;
pub(crate) use question::{Question, question};
pub(crate) use suggestion::Suggestion;

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

/// Returns the script for a shell, between its marks. A program other than ostler gets PM2's.
pub(crate) fn script(program: &str, shell: Shell) -> String {
    let template = match (program, shell) {
        ("ostler", Shell::Bash) => scripts::BASH,
        ("ostler", Shell::Zsh) => scripts::ZSH,
        ("ostler", Shell::Fish) => scripts::FISH,
        (_, Shell::Bash) => pm2::BASH,
        (_, Shell::Zsh) => pm2::ZSH,
        (_, Shell::Fish) => pm2::FISH,
    };
    format!("{}\n{}{}\n", begin_mark(program), template.replace("PROGRAM", program), end_mark(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_scripts_parse() {
        for (shell, program) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
            for name in ["ostler", "pm2"] {
                let text = script(name, shell);
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
}
