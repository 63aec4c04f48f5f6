//! The first line of each written file, and what a second run does with a file that is there.
//!
//! The line has a sum of all that follows. As long as it is right, nobody has edited the file, and it may be replaced. Where it is not, somebody has; then
//! the sum still says what was generated before, and if the same would be generated now, there is nothing to bring in: the edit stays. Else both sides
//! have changed, and only a person can say what is meant: the new text goes beside it, and the file is left alone.

use sha2::{Digest, Sha256};

/// Beginning of the line; a number of the form is not needed as long as it is the only one.
const MARK: &str = "# Written by `ostler export ";
const SUM: &str = " (sum ";

/// The text of a file with its first line.
pub fn stamped(what: &str, body: &str) -> String {
    format!("{MARK}{what}`. It may be edited: then it is not overwritten.{SUM}{})\n{body}", sum(body))
}

/// Step of a second run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none yet: it is written.
    Create,
    /// It is what would be written.
    Same,
    /// It was not edited: it is replaced.
    Replace,
    /// It was edited, and what is generated has not changed since: it stays.
    Keep,
    /// It was edited, or is not ours, and something else is generated now: it stays, the new text goes beside it.
    Conflict,
}

/// Decides about a file: the text that is there, and the new one with its line.
pub fn decide(there: Option<&str>, new: &str) -> Step {
    let Some(there) = there else { return Step::Create };
    // A checkout on another system may have other ends of lines: that is no edit.
    let there = there.replace("\r\n", "\n");
    if there == new {
        return Step::Same;
    }
    match (parts(&there), parts(new)) {
        (Some((was, body)), _) if was == sum(body) => Step::Replace,
        (Some((was, _)), Some((is, _))) if was == is => Step::Keep,
        _ => Step::Conflict,
    }
}

/// The sum in the first line, and what follows it.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (line, body) = text.split_once('\n')?;
    let (_, sum) = line.strip_prefix(MARK)?.rsplit_once(SUM)?;
    Some((sum.strip_suffix(')')?, body))
}

/// Sixteen digits: enough to notice an edit, short enough to read past.
fn sum(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edited_file_is_never_overwritten() {
        let (old, new) = (stamped("compose", "a: 1\n"), stamped("compose", "a: 2\n"));
        let edited = old.replace("a: 1", "a: 1 # mine");
        for (there, new, step) in [
            (None, &new, Step::Create),
            (Some(old.clone()), &old, Step::Same),
            (Some(old.replace('\n', "\r\n")), &old, Step::Same),
            (Some(old.clone()), &new, Step::Replace),
            (Some(old.replace('\n', "\r\n")), &new, Step::Replace),
            (Some(edited.clone()), &old, Step::Keep),
            (Some(edited), &new, Step::Conflict),
            (Some("services: {}\n".into()), &new, Step::Conflict),
            (Some(String::new()), &new, Step::Conflict),
            (Some(old.lines().next().unwrap().to_owned()), &new, Step::Conflict),
        ] {
            assert_eq!(decide(there.as_deref(), new), step, "{there:?}");
        }
    }

    proptest! {
        /// Whatever somebody types into a file, it is replaced only if nothing was typed.
        #[test]
        fn only_unedited_file_is_replaced(body in "[a-c\n]{0,20}", edit in "[a-c#\n]{1,8}", at in 0_usize..20, next in "[a-c\n]{0,20}") {
            let old = stamped("compose", &body);
            let start = old.len() - body.len();
            let at = start + at.min(body.len());
            let edited = format!("{}{edit}{}", &old[..at], &old[at..]);
            let step = decide(Some(&edited), &stamped("compose", &next));
            prop_assert!(matches!(step, Step::Keep | Step::Conflict) || edited == stamped("compose", &next));
        }
    }
}
