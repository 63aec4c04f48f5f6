//! YAML writer: values, comments, and three languages that read a text before YAML does.
//!
//! Plain words stay plain. Any text that some version of YAML could read differently (`no`, `0755`,
//! `1e3`, `12:30`) is in double quotes, so that the parsed value is the intended text. Not written
//! by a serializer such as serde-saphyr: the control lines of a Helm template, between the keys of
//! a table, are not YAML.

/// Languages that read a file before YAML does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// No other language.
    #[default]
    Plain,
    /// Compose: `$NAME` in values is replaced.
    Compose,
    /// Helm: `{{ … }}` is a template.
    Helm,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Yaml {
    /// A text with any content.
    Text(String),
    /// A text that the dialect expands: `${NAME:?}` of Compose. In quotes.
    Reference(String),
    /// Written unchanged: `{{ .Values.x }}`.
    Verbatim(String),
    /// A whole number.
    Int(i64),
    /// `true` or `false`.
    Flag(bool),
    /// A list, one item per line.
    List(Vec<Yaml>),
    /// A list on one line.
    Words(Vec<Yaml>),
    /// A table.
    Map(Map),
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Yaml {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Yaml {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u16> for Yaml {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

impl From<i64> for Yaml {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Yaml {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Map> for Yaml {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl From<Vec<Yaml>> for Yaml {
    fn from(list: Vec<Yaml>) -> Self {
        Self::List(list)
    }
}

impl Yaml {
    /// Returns words on one line: a command.
    pub(crate) fn words<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> Self {
        Self::Words(words.into_iter().map(|word| Self::from(word.as_ref())).collect())
    }

    fn is_block(&self) -> bool {
        match self {
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.0.is_empty(),
            _ => false,
        }
    }
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq)]
enum MapLine {
    Entry(String, Yaml),
    Comment(String),
    /// Control lines of a template.
    Verbatim(String),
}

/// A table in output order, with its comments.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Map(Vec<MapLine>);

impl Map {
    /// Returns an empty table.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds an entry.
    pub(crate) fn put(&mut self, key: impl Into<String>, value: impl Into<Yaml>) -> &mut Self {
        self.0.push(MapLine::Entry(key.into(), value.into()));
        self
    }

    /// Adds an entry if there is a value.
    pub(crate) fn put_some(&mut self, key: &str, value: Option<impl Into<Yaml>>) -> &mut Self {
        if let Some(value) = value {
            self.put(key, value);
        }
        self
    }

    /// Adds a table unless it is empty.
    pub(crate) fn put_filled(&mut self, key: &str, map: Map) -> &mut Self {
        if !map.is_empty() {
            self.put(key, map);
        }
        self
    }

    /// Adds a comment above what comes next.
    pub(crate) fn comment(&mut self, text: impl Into<String>) -> &mut Self {
        self.0.push(MapLine::Comment(text.into()));
        self
    }

    /// Adds a control line of a template.
    pub(crate) fn verbatim(&mut self, line: impl Into<String>) -> &mut Self {
        self.0.push(MapLine::Verbatim(line.into()));
        self
    }

    /// Returns the table with one more entry.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Yaml>) -> Self {
        self.put(key, value);
        self
    }

    /// Returns true if it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of lines.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the table without an entry.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.0.retain(|line| !matches!(line, MapLine::Entry(own, _) if own == key));
        self
    }

    /// Changes the table of this key, if any.
    pub(crate) fn enter(&mut self, key: &str, change: impl FnOnce(&mut Self)) {
        let found = self.0.iter_mut().find_map(|line| match line {
            MapLine::Entry(own, Yaml::Map(map)) if own == key => Some(map),
            _ => None,
        });
        if let Some(map) = found {
            change(map);
        }
    }

    /// Returns the text, one entry per line.
    pub(crate) fn text(&self, dialect: Dialect) -> String {
        let mut out = String::new();
        map_lines(&mut out, self, 0, dialect);
        out
    }
}

/// Returns several documents in one file.
pub(crate) fn documents(all: &[Map], dialect: Dialect) -> String {
    all.iter().map(|map| map.text(dialect)).collect::<Vec<_>>().join("---\n")
}

/// Returns a comment on one line.
pub(crate) fn comment(text: &str, dialect: Dialect) -> String {
    let line: String = text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect();
    if dialect == Dialect::Helm { line.replace("{{", "{ {") } else { line }
}

fn map_lines(out: &mut String, map: &Map, indent: usize, dialect: Dialect) {
    let pad = " ".repeat(indent);
    for line in &map.0 {
        match line {
            MapLine::Comment(text) => out.push_str(&format!("{pad}# {}\n", comment(text, dialect))),
            MapLine::Verbatim(text) => out.push_str(&format!("{pad}{text}\n")),
            MapLine::Entry(key, value) => {
                // Compose reads no variables in keys.
                let key = scalar(key, if dialect == Dialect::Compose { Dialect::Plain } else { dialect });
                out.push_str(&format!("{pad}{key}:"));
                after(out, value, indent, dialect);
            }
        }
    }
}

/// Writes the value after a colon.
fn after(out: &mut String, value: &Yaml, indent: usize, dialect: Dialect) {
    match value {
        Yaml::Map(map) if value.is_block() => {
            out.push('\n');
            map_lines(out, map, indent + 2, dialect);
        }
        Yaml::List(list) if value.is_block() => {
            out.push('\n');
            list_lines(out, list, indent + 2, dialect);
        }
        Yaml::Text(text) if is_block_text(text, dialect) => block_text(out, text, indent + 2),
        other => out.push_str(&format!(" {}\n", flat(other, dialect))),
    }
}

/// Returns true for a text that is more readable as several lines, and that YAML returns unchanged.
fn is_block_text(text: &str, dialect: Dialect) -> bool {
    let is_odd = |c: char| c != '\n' && is_unprintable(c);
    dialect == Dialect::Plain
        && text.contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with('\n')
        && !text.lines().any(|line| line.ends_with(' '))
        && !text.chars().any(is_odd)
}

fn block_text(out: &mut String, text: &str, indent: usize) {
    out.push_str(" |-\n");
    for line in text.split('\n') {
        let pad = if line.is_empty() { 0 } else { indent };
        out.push_str(&format!("{}{line}\n", " ".repeat(pad)));
    }
}

fn list_lines(out: &mut String, list: &[Yaml], indent: usize, dialect: Dialect) {
    let pad = " ".repeat(indent);
    for item in list {
        match item {
            Yaml::Map(map) if item.is_block() => {
                let mut inner = String::new();
                map_lines(&mut inner, map, indent + 2, dialect);
                // Comments are above the item; its first entry follows the dash.
                let mut lines = inner.lines().peekable();
                while let Some(line) = lines.next_if(|line| line.trim_start().starts_with('#')) {
                    out.push_str(&format!("{pad}{}\n", line.trim_start()));
                }
                if let Some(first) = lines.next() {
                    out.push_str(&format!("{pad}- {}\n", first.trim_start()));
                }
                for line in lines {
                    out.push_str(&format!("{line}\n"));
                }
            }
            Yaml::List(_) if item.is_block() => out.push_str(&format!("{pad}- {}\n", flat(&as_words(item), dialect))),
            Yaml::Text(text) if is_block_text(text, dialect) => {
                out.push_str(&format!("{pad}-"));
                block_text(out, text, indent + 2);
            }
            other => out.push_str(&format!("{pad}- {}\n", flat(other, dialect))),
        }
    }
}

fn as_words(value: &Yaml) -> Yaml {
    match value {
        Yaml::List(list) => Yaml::Words(list.clone()),
        other => other.clone(),
    }
}

/// Returns a value on one line.
fn flat(value: &Yaml, dialect: Dialect) -> String {
    match value {
        Yaml::Text(text) => scalar(text, dialect),
        Yaml::Reference(text) => quoted(text, Dialect::Plain),
        Yaml::Verbatim(text) => text.clone(),
        Yaml::Int(number) => number.to_string(),
        Yaml::Flag(flag) => flag.to_string(),
        Yaml::List(list) | Yaml::Words(list) => {
            // In a list on one line, all words are in quotes, so it reads as a command.
            let item = |item: &Yaml| match item {
                Yaml::Text(text) => quoted(text, dialect),
                other => flat(&as_words(other), dialect),
            };
            format!("[{}]", list.iter().map(item).collect::<Vec<_>>().join(", "))
        }
        Yaml::Map(map) => {
            let entry = |line: &MapLine| match line {
                MapLine::Entry(key, value) => Some(format!("{}: {}", scalar(key, dialect), flat(value, dialect))),
                _ => None,
            };
            let entries: Vec<String> = map.0.iter().filter_map(entry).collect();
            if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
        }
    }
}

/// Returns a text that YAML parses back to the same text.
pub(crate) fn scalar(text: &str, dialect: Dialect) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text, dialect) }
}

/// Words that some version of YAML treats as a flag or as null.
const TAKEN: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];

fn is_plain(text: &str) -> bool {
    let mut chars = text.chars();
    let begins = match (chars.next(), chars.next()) {
        (Some(first), _) if first.is_ascii_alphabetic() || first == '_' => true,
        (Some('.' | '/'), second) => second.is_none_or(|second| second.is_ascii_alphabetic() || second == '/') && text != ".",
        _ => false,
    };
    let is_plain_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '@' | '+');
    // A colon inside a word is part of it (`a:b`); sexagesimal numbers begin with a digit.
    let colons = text.ends_with(':');
    let bare = text.trim_start_matches('.').to_ascii_lowercase();
    begins && !colons && text.chars().all(|c| is_plain_char(c) || c == ':') && !TAKEN.contains(&bare.as_str())
}

/// Returns a text in double quotes.
pub(crate) fn quoted(text: &str, dialect: Dialect) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' if dialect == Dialect::Compose => out.push_str("$$"),
            '{' if dialect == Dialect::Helm && chars.peek() == Some(&'{') => {
                chars.next();
                out.push_str("{{ `{{` }}");
            }
            c if is_unprintable(c) => escape(&mut out, c),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Returns true for characters that YAML does not allow in a text, that break lines, or that are
/// invisible.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
}

fn escape(out: &mut String, c: char) {
    let code = u32::from(c);
    if code <= 0xff {
        out.push_str(&format!("\\x{code:02X}"));
    } else {
        out.push_str(&format!("\\u{code:04X}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn ambiguous_scalars_are_quoted() {
        for text in [
            "no",
            "On",
            "y",
            "N",
            "1e3",
            "0755",
            "12:30",
            "~",
            "null",
            "",
            " a",
            "a ",
            "a: b",
            "a #b",
            "- a",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "a:",
            ".inf",
            ".NaN",
            "=",
            "<<",
            "0x1F",
            "1_000",
            "{a}",
            "[a]",
            "a, b",
            "---",
            "...",
            "2001-01-01",
            "é",
            "🚀",
            "a\nb\n",
            "\t",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{7f}",
            "a\u{0}b",
            "'",
            "\"",
            "\\",
            "$",
            "{{ x }}",
            "?",
            "|",
            ">",
            ".5",
            "+1",
            "-1",
        ] {
            let map = Map::new().with("k", text);
            assert_eq!(read(&map.text(Dialect::Plain)), json!({ "k": text }), "{text:?}");
            assert!(map.text(Dialect::Plain).contains('"'), "{text:?}");
        }
        for text in ["abc", "/usr/bin", "./a.js", "node:24-alpine", "a_b-c.d@e+f"] {
            assert_eq!(Map::new().with("k", text).text(Dialect::Plain), format!("k: {text}\n"));
        }
    }

    #[test]
    fn text_is_escaped_for_each_dialect() {
        let map = Map::new().with("k", "a $HOME ${X} {{ y }} {{{").with("r", Yaml::Reference("${X:?set it}".into()));
        assert_eq!(map.text(Dialect::Compose), "k: \"a $$HOME $${X} {{ y }} {{{\"\nr: \"${X:?set it}\"\n");
        assert!(map.text(Dialect::Helm).starts_with("k: \"a $HOME ${X} {{ `{{` }} y }} {{ `{{` }}{\"\n"));
    }

    #[test]
    fn maps_and_lists_are_written_with_comments() {
        let mut item = Map::new();
        item.comment("why").put("name", "a").put("ports", vec![Yaml::from(80_u16)]).put("none", Map::new());
        let mut map = Map::new();
        map.comment("top")
            .put("list", vec![item.into(), "x".into(), Yaml::words(["a", "b c"])])
            .put("cmd", Yaml::words(["sh", "-c", "no"]));
        let text = map.text(Dialect::Plain);
        assert_eq!(
            text,
            "# top\nlist:\n  # why\n  - name: a\n    ports:\n      - 80\n    none: {}\n  - x\n  - [\"a\", \"b c\"]\ncmd: [\"sh\", \"-c\", \"no\"]\n"
        );
        assert_eq!(
            read(&text),
            json!({ "list": [{ "name": "a", "ports": [80], "none": {} }, "x", ["a", "b c"]], "cmd": ["sh", "-c", "no"] })
        );
    }

    proptest! {
        #[test]
        fn text_round_trips(key in "\\PC{1,12}", value in any::<String>()) {
            let map = Map::new().with("top", Map::new().with(&key, value.as_str()).with("list", vec![Yaml::from(value.as_str())]));
            prop_assert_eq!(read(&map.text(Dialect::Plain)), json!({ "top": { key: value, "list": [value] } }));
        }

        #[test]
        fn compose_dollars_round_trip(value in "[$a{}\"\n ]{0,12}") {
            let text = Map::new().with("k", value.as_str()).text(Dialect::Compose);
            let read = read(&text);
            prop_assert_eq!(read["k"].as_str().map(|text| text.replace("$$", "$")), Some(value));
        }

        #[test]
        fn comment_stays_on_one_line(text in any::<String>()) {
            let mut map = Map::new();
            map.comment(text).put("k", 1_u32);
            prop_assert_eq!(read(&map.text(Dialect::Plain)), json!({ "k": 1 }));
        }
    }
}
