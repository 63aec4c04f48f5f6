//! Sections of keys and values, as systemd and supervisor write them.

/// A section with its lines, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub name: String,
    pub lines: Vec<(String, String)>,
}

/// How a value goes on in the next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoesOn {
    /// By a backslash at its end.
    Backslash,
    /// By a blank at the beginning of the next one.
    Indent,
}

/// All sections. Lines before the first one, and lines that are neither, are left out.
pub(super) fn sections(text: &str, goes_on: GoesOn) -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    let mut is_open = false;
    for raw in text.lines() {
        let line = raw.trim();
        let continues = match goes_on {
            GoesOn::Backslash => is_open,
            GoesOn::Indent => {
                raw.starts_with([' ', '\t']) && !line.is_empty() && all.last().is_some_and(|section| !section.lines.is_empty())
            }
        };
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (line, more) = match line.strip_suffix('\\') {
            Some(line) if goes_on == GoesOn::Backslash => (line.trim_end(), true),
            _ => (line, false),
        };
        if continues {
            if let Some((_, value)) = all.last_mut().and_then(|section| section.lines.last_mut()) {
                if !value.is_empty() && !line.is_empty() {
                    value.push(if goes_on == GoesOn::Indent { '\n' } else { ' ' });
                }
                value.push_str(line);
            }
            is_open = more;
            continue;
        }
        is_open = more;
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            all.push(Section { name: name.trim().to_owned(), lines: Vec::new() });
        } else if let (Some((key, value)), Some(section)) = (line.split_once('='), all.last_mut()) {
            section.lines.push((key.trim().to_owned(), value.trim().to_owned()));
        } else {
            is_open = false;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_on_in_two_ways() {
        let text = "x=0\n[A]\na = b \\\n  c\n; no\n# no\nd=\n[B]\ne=f\n  g\n";
        let a = sections(text, GoesOn::Backslash);
        assert_eq!(a[0].lines, [("a".into(), "b c".into()), ("d".into(), String::new())]);
        let b = sections("[B]\ne=f\n  g\nh=i\n", GoesOn::Indent);
        assert_eq!(b[0].lines, [("e".into(), "f\ng".into()), ("h".into(), "i".into())]);
    }
}
