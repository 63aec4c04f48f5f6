//! First line of each written file, and the handling of an existing file in a second run.
//!
//! The line contains a checksum of the rest. If the checksum is right, the file is unedited and may
//! be replaced. If it is wrong, a user has edited the file. The checksum then identifies the text
//! that was generated before. If the same text would be generated now, there is no change to apply,
//! so the edit stays. Otherwise both sides have changed, and only the user can decide: the new text
//! is written beside the file, which is left alone.

use sha2::{Digest, Sha256};

/// Start of the line. It needs no format version, because there is only one format.
const MARK: &str = "# Written by `ostler export ";
const SUM: &str = " (sum ";

/// Returns the text of a file with its first line.
pub fn stamped(what: &str, body: &str) -> String {
    format!("{MARK}{what}`. It may be edited: then it is not overwritten.{SUM}{})\n{body}", sum(body))
}

/// Action of a second run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// The file does not exist: write it.
    Create,
    /// The file equals the new text.
    Same,
    /// It was not edited: replace it.
    Replace,
    /// It was edited, and the generated text is unchanged: keep it.
    Keep,
    /// It was edited, or another program wrote it, and the generated text has changed. Keep it and
    /// write the new text beside it.
    Conflict,
}

/// Decides about a file from its present text and the new text with its line.
pub fn decide(there: Option<&str>, new: &str) -> FileAction {
    let Some(there) = there else { return FileAction::Create };
    // A checkout on another system may have other line endings: that is no edit.
    let there = there.replace("\r\n", "\n");
    if there == new {
        return FileAction::Same;
    }
    match (parts(&there), parts(new)) {
        (Some((was, body)), _) if was == sum(body) => FileAction::Replace,
        (Some((was, _)), Some((is, _))) if was == is => FileAction::Keep,
        _ => FileAction::Conflict,
    }
}

/// Returns the checksum in the first line, and the rest of the text.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (line, body) = text.split_once('\n')?;
    let (_, sum) = line.strip_prefix(MARK)?.rsplit_once(SUM)?;
    Some((sum.strip_suffix(')')?, body))
}

/// Returns a checksum of sixteen digits: enough to detect an edit, and short.
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
            (None, &new, FileAction::Create),
            (Some(old.clone()), &old, FileAction::Same),
            (Some(old.replace('\n', "\r\n")), &old, FileAction::Same),
            (Some(old.clone()), &new, FileAction::Replace),
            (Some(old.replace('\n', "\r\n")), &new, FileAction::Replace),
            (Some(edited.clone()), &old, FileAction::Keep),
            (Some(edited), &new, FileAction::Conflict),
            (Some("services: {}\n".into()), &new, FileAction::Conflict),
            (Some(String::new()), &new, FileAction::Conflict),
            (Some(old.lines().next().unwrap().to_owned()), &new, FileAction::Conflict),
        ] {
            assert_eq!(decide(there.as_deref(), new), step, "{there:?}");
        }
    }

    proptest! {
        /// A file is replaced only if its text is unedited.
        #[test]
        fn only_unedited_file_is_replaced(body in "[a-c\n]{0,20}", edit in "[a-c#\n]{1,8}", at in 0_usize..20, next in "[a-c\n]{0,20}") {
            let old = stamped("compose", &body);
            let start = old.len() - body.len();
            let at = start + at.min(body.len());
            let edited = format!("{}{edit}{}", &old[..at], &old[at..]);
            let step = decide(Some(&edited), &stamped("compose", &next));
            prop_assert!(matches!(step, FileAction::Keep | FileAction::Conflict) || edited == stamped("compose", &next));
        }
    }
}
