//! Sections of keys and values, as systemd and supervisor write them.

/// A section with its lines, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub name: String,
    pub lines: Vec<Assignment>,
}

/// An assignment. `number` is the first line of a value that spans several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub key: String,
    pub value: String,
    pub number: usize,
}

/// Syntax of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// A backslash at the end of a line joins the next one.
    Systemd,
    /// A leading blank continues the value; ` ;` and ` #` begin a comment; `:` is equivalent to
    /// `=`; keys are in lower case.
    Supervisor,
}

/// Returns all sections. Lines before the first section, and lines that are no assignment, are left
/// out.
pub(super) fn sections(text: &str, syntax: Syntax) -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    let mut is_open = false;
    for (at, raw) in text.lines().enumerate() {
        let line = raw.trim();
        // A comment between the lines of a value does not end it.
        if line.starts_with(['#', ';']) {
            continue;
        }
        let line = if syntax == Syntax::Supervisor { without_comment(line) } else { line };
        let continues = match syntax {
            Syntax::Systemd => is_open,
            Syntax::Supervisor => {
                raw.starts_with([' ', '\t']) && !line.is_empty() && all.last().is_some_and(|section| !section.lines.is_empty())
            }
        };
        let (line, more) = match line.strip_suffix('\\') {
            Some(line) if syntax == Syntax::Systemd => (line.trim_end(), true),
            _ => (line, false),
        };
        if continues {
            if let Some(Assignment { value, .. }) = all.last_mut().and_then(|section| section.lines.last_mut()) {
                if !value.is_empty() && !line.is_empty() {
                    value.push(if syntax == Syntax::Supervisor { '\n' } else { ' ' });
                }
                value.push_str(line);
            }
            is_open = more;
            continue;
        }
        is_open = more;
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            all.push(Section { name: name.trim().to_owned(), lines: Vec::new() });
        } else if let (Some((key, value)), Some(section)) = (assignment(line, syntax), all.last_mut()) {
            section.lines.push(Assignment { key, value: value.to_owned(), number: at + 1 });
        } else {
            is_open = false;
        }
    }
    all
}

fn assignment(line: &str, syntax: Syntax) -> Option<(String, &str)> {
    let (key, value) = match syntax {
        Syntax::Systemd => line.split_once('=')?,
        Syntax::Supervisor => line.split_once(['=', ':'])?,
    };
    let key = key.trim();
    Some((if syntax == Syntax::Supervisor { key.to_ascii_lowercase() } else { key.to_owned() }, value.trim()))
}

/// Returns the line up to a `;` or `#` after a blank.
fn without_comment(line: &str) -> &str {
    let begins = |(at, c): (usize, char)| matches!(c, ';' | '#') && line.get(..at).is_some_and(|before| before.ends_with([' ', '\t']));
    let end = line.char_indices().find(|found| begins(*found)).map_or(line.len(), |(at, _)| at);
    line.get(..end).unwrap_or(line).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(section: &Section) -> Vec<(&str, &str, usize)> {
        section.lines.iter().map(|line| (line.key.as_str(), line.value.as_str(), line.number)).collect()
    }

    #[test]
    fn continuation_lines_follow_each_syntax() {
        let text = "x=0\n[A]\na = b \\\n# between\n  c\n; no\n# no\nd=\n[B]\ne=f ; g\n";
        let all = sections(text, Syntax::Systemd);
        assert_eq!(pairs(&all[0]), [("a", "b c", 3), ("d", "", 8)]);
        assert_eq!(pairs(&all[1]), [("e", "f ; g", 10)]);
        let all = sections("[B]\nE: f=1 ; x\n  g\t# y\n\nh=i;j\n", Syntax::Supervisor);
        assert_eq!(pairs(&all[0]), [("e", "f=1\ng", 2), ("h", "i;j", 5)]);
    }
}
