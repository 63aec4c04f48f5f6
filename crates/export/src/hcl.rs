//! Writer for HCL: blocks and attributes, and texts without templates.

/// Text of a file, indented by its blocks.
#[derive(Default)]
pub(crate) struct Hcl {
    out: String,
    depth: usize,
}

impl Hcl {
    /// Adds a line unchanged.
    pub(crate) fn line(&mut self, line: &str) -> &mut Self {
        if line.is_empty() {
            self.out.push('\n');
        } else {
            self.out.push_str(&format!("{}{line}\n", "  ".repeat(self.depth)));
        }
        self
    }

    /// Adds a comment.
    pub(crate) fn comment(&mut self, text: &str) -> &mut Self {
        self.line(&format!("# {}", crate::quote::line(text)))
    }

    /// Sets an attribute to a text.
    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.line(&format!("{key} = {}", text(value)))
    }

    /// Sets an attribute to an unquoted expression: a number, a flag, a list.
    pub(crate) fn bare(&mut self, key: &str, value: impl std::fmt::Display) -> &mut Self {
        self.line(&format!("{key} = {value}"))
    }

    /// Adds a block with its content.
    pub(crate) fn block(&mut self, head: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        fill(self);
        self.depth -= 1;
        self.line("}")
    }

    /// Returns the text.
    pub(crate) fn done(self) -> String {
        self.out
    }
}

/// Returns a text in quotes.
pub(crate) fn text(value: &str) -> String {
    let mut out = String::from("\"");
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if chars.peek() == Some(&'{') => out.extend([c, c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Returns a list of texts.
pub(crate) fn list<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    format!("[{}]", words.into_iter().map(|word| text(word.as_ref())).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_escapes_template_sequences() {
        for (value, expected) in [("a\"b\\", r#""a\"b\\""#), ("${x} %{y} $z", r#""$${x} %%{y} $z""#), ("a\nb\u{1}", "\"a\\nb\\u0001\"")] {
            assert_eq!(text(value), expected);
        }
        assert_eq!(list(["a", "b c"]), r#"["a", "b c"]"#);
    }
}
