//! Positions of the keys of a file.
//!
//! The YAML and TOML parsers return them. A tolerant scanner reads JSON, JSON5 and JavaScript; it
//! knows only brackets, texts and comments. It never evaluates, so for JavaScript it may find no
//! literal, or a literal that differs from the evaluated value. A position is therefore returned
//! only if the text around it agrees with the evaluated value (see [`Positions::trusted`]). No line
//! is better than a wrong line.

use std::collections::HashMap;

use serde_json::Value;

use crate::problem::Position;

/// Positions by key path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Positions {
    exact: HashMap<String, Position>,
    scanned: Option<Scanned>,
}

impl Positions {
    /// Records an exact position.
    pub(crate) fn insert(&mut self, path: String, position: Position) {
        self.exact.insert(path, position);
    }

    /// Returns the positions in a JSON, JSON5 or JavaScript text.
    pub(crate) fn scan(text: &str) -> Self {
        Self { exact: HashMap::new(), scanned: Some(Scanned::of(text)) }
    }

    /// Returns the position of an app (no segments) or of a key inside it. `app` is its path in the
    /// file, `value` its evaluated table.
    pub(crate) fn of(&self, app: &str, value: &Value, segments: &[Segment]) -> Option<Position> {
        let path = segments.iter().fold(app.to_owned(), |path, segment| join(&path, segment));
        self.exact.get(&path).copied().or_else(|| self.scanned.as_ref()?.trusted(app, value, segments))
    }
}

/// Segment of a key path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Into a table.
    Key(String),
    /// Into a list.
    Index(usize),
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

/// Appends a segment to a path: `apps[1]` + `env` → `apps[1].env`; keys that are no identifiers are
/// quoted.
pub(crate) fn join(path: &str, segment: &Segment) -> String {
    match segment {
        Segment::Index(index) => format!("{path}[{index}]"),
        Segment::Key(key) if !is_identifier(key) => format!("{path}[{}]", Value::from(key.as_str())),
        Segment::Key(key) if path.is_empty() => key.clone(),
        Segment::Key(key) => format!("{path}.{key}"),
    }
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_' || c == '$') && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

/// Returns the line and column of a byte offset.
pub(crate) fn position_at(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Position { line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
}

/// Literals that were found in a text.
#[derive(Clone, Debug)]
struct Scanned {
    text: String,
    tables: Vec<Table>,
    lists: Vec<List>,
    /// First literal of the file that is exported or is a separate expression.
    root: Option<Node>,
}

#[derive(Clone, Debug)]
struct Table {
    at: usize,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    at: usize,
    value: Node,
    /// Whether a spread or computed key follows in the same table and may override the literal.
    overridable: bool,
}

#[derive(Clone, Debug)]
struct List {
    /// Items, if each of them is a table or list literal and none is spread.
    items: Option<Vec<Node>>,
}

#[derive(Clone, Copy, Debug)]
enum Node {
    Table(usize),
    List(usize),
    /// A text literal, by its token.
    Literal(usize),
    Opaque,
}

impl Scanned {
    fn of(text: &str) -> Self {
        let tokens = tokens(text);
        let mut parser = Parser { text, tokens: &tokens, next: 0, depth: 0, tables: Vec::new(), lists: Vec::new(), root: None };
        parser.program();
        let Parser { tables, lists, root, .. } = parser;
        Self { text: text.to_owned(), tables, lists, root }
    }

    fn trusted(&self, app: &str, value: &Value, segments: &[Segment]) -> Option<Position> {
        let block = self.by_path(app, value).or_else(|| self.by_name(value))?;
        let mut offset = self.tables.get(block)?.at;
        let mut node = Node::Table(block);
        for segment in segments {
            match (segment, node) {
                (Segment::Key(key), Node::Table(table)) => {
                    let entry = self.tables.get(table)?.entries.iter().rfind(|entry| entry.key == *key)?;
                    if entry.overridable {
                        return None;
                    }
                    offset = entry.at;
                    node = entry.value;
                }
                // An item of a list is reported at the key of the list.
                (Segment::Index(_), _) => break,
                (Segment::Key(_), _) => return None,
            }
        }
        Some(position_at(&self.text, offset))
    }

    /// Returns the table at `apps[1]` of the exported literal, if it agrees with the evaluated
    /// table.
    fn by_path(&self, app: &str, value: &Value) -> Option<usize> {
        let mut node = self.root?;
        for segment in app.split(['.', '[']).filter(|segment| !segment.is_empty()) {
            node = match (node, segment.strip_suffix(']')) {
                (Node::Table(table), None) => {
                    let entry = self.tables.get(table)?.entries.iter().rfind(|entry| entry.key == segment)?;
                    if entry.overridable {
                        return None;
                    }
                    entry.value
                }
                (Node::List(list), Some(index)) => *self.lists.get(list)?.items.as_ref()?.get(index.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        match node {
            Node::Table(table) if self.agrees(table, value) => Some(table),
            _ => None,
        }
    }

    /// Returns the only table of the file whose `name` is the evaluated name.
    fn by_name(&self, value: &Value) -> Option<usize> {
        let name = value.get("name")?.as_str()?;
        let mut found = self.tables.iter().enumerate().filter(|(_, table)| self.literal(table, "name").as_deref() == Some(name));
        match (found.next(), found.next()) {
            (Some((index, _)), None) if self.agrees(index, value) => Some(index),
            _ => None,
        }
    }

    /// Returns true if every text literal of the table equals the evaluated value of its key.
    fn agrees(&self, table: usize, value: &Value) -> bool {
        let Some(table) = self.tables.get(table) else { return false };
        table.entries.iter().filter(|entry| !entry.overridable).all(|entry| match self.literal(table, &entry.key) {
            Some(text) => value.get(&entry.key).is_some_and(|value| value.as_str() == Some(&text)),
            None => true,
        })
    }

    fn literal(&self, table: &Table, key: &str) -> Option<String> {
        match table.entries.iter().rfind(|entry| entry.key == key)?.value {
            Node::Literal(at) => plain_text(&self.text[at..]),
            _ => None,
        }
    }
}

/// Returns the text of a quoted literal without escapes, and none for a literal with escapes.
fn plain_text(rest: &str) -> Option<String> {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let body = rest[1..].split_once(quote)?.0;
    (!body.contains('\\')).then(|| body.to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// Quoted text.
    Text,
    /// Identifier, number or keyword.
    Word,
    /// Template or regular expression: any other value.
    Other,
    /// One character.
    Mark(u8),
}

#[derive(Clone, Copy, Debug)]
struct SpannedToken {
    token: Token,
    start: usize,
    end: usize,
}

/// Splits a text into tokens; an unknown character becomes a mark.
fn tokens(text: &str) -> Vec<SpannedToken> {
    let bytes = text.as_bytes();
    let mut out: Vec<SpannedToken> = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let start = i;
        let token = match bytes[i] {
            b' ' | b'\t' | b'\r' | b'\n' => {
                i += 1;
                continue;
            }
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                i += bytes[i..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - i);
                continue;
            }
            b'/' if bytes.get(i + 1) == Some(&b'*') => {
                i = text[i + 2..].find("*/").map_or(bytes.len(), |end| i + 2 + end + 2);
                continue;
            }
            quote @ (b'"' | b'\'' | b'`') => {
                i = end_of_quoted(bytes, i, quote);
                if quote == b'`' { Token::Other } else { Token::Text }
            }
            b'/' if regex_may_start(out.last(), text) => {
                i = end_of_regex(bytes, i);
                Token::Other
            }
            byte if is_word(byte) => {
                i += bytes[i..].iter().position(|b| !is_word(*b)).unwrap_or(bytes.len() - i);
                Token::Word
            }
            byte => {
                i += 1;
                Token::Mark(byte)
            }
        };
        out.push(SpannedToken { token, start, end: i });
    }
    out
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

fn end_of_quoted(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut i = start + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            byte if byte == quote => return i + 1,
            // A quoted text ends at the end of its line, so one stray apostrophe does not consume
            // the file.
            b'\n' if quote != b'`' => return i,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

fn regex_may_start(last: Option<&SpannedToken>, text: &str) -> bool {
    match last {
        None => true,
        Some(SpannedToken { token: Token::Mark(mark), .. }) => !matches!(mark, b')' | b']' | b'}'),
        Some(SpannedToken { token: Token::Word, start, end }) => matches!(&text[*start..*end], "return" | "typeof" | "case" | "in" | "of"),
        Some(_) => false,
    }
}

fn end_of_regex(bytes: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    let mut class = false;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'[' => class = true,
            b']' => class = false,
            b'/' if !class => return i + 1,
            b'\n' => return i,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [SpannedToken],
    next: usize,
    depth: usize,
    tables: Vec<Table>,
    lists: Vec<List>,
    root: Option<Node>,
}

/// Greatest depth of a literal; deeper ones are skipped, because the scanner recurses.
const MAX_DEPTH: usize = 64;

impl Parser<'_> {
    fn mark(&self, ahead: usize) -> Option<u8> {
        match self.tokens.get(self.next + ahead)?.token {
            Token::Mark(mark) => Some(mark),
            _ => None,
        }
    }

    fn word(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |at| &self.text[at.start..at.end])
    }

    fn program(&mut self) {
        while self.next < self.tokens.len() {
            let start = self.next;
            let node = match self.mark(0) {
                Some(b'{') => self.table(),
                Some(b'[') => self.list(),
                _ => {
                    self.next += 1;
                    continue;
                }
            };
            let exported = self.exported(start);
            if exported || self.root.is_none() && start == self.first_value() {
                self.root = Some(node);
            }
        }
    }

    fn first_value(&self) -> usize {
        // `(` before an object in an expression file.
        self.tokens.iter().position(|at| at.token != Token::Mark(b'(')).unwrap_or(0)
    }

    fn exported(&self, start: usize) -> bool {
        let word = |back: usize| start.checked_sub(back).map_or("", |index| self.word(index));
        word(1) == "default" && word(2) == "export"
            || word(1) == "=" && word(2) == "exports" && word(3) == "." && word(4) == "module"
            || word(1) == "=" && word(2) == "exports" && word(3) == "="
    }

    fn table(&mut self) -> Node {
        let at = self.tokens[self.next].start;
        let index = self.tables.len();
        self.tables.push(Table { at, entries: Vec::new() });
        self.next += 1;
        self.depth += 1;
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(first) = self.tokens.get(self.next).copied() {
            if first.token == Token::Mark(b'}') {
                self.next += 1;
                break;
            }
            if self.mark(0) == Some(b',') {
                self.next += 1;
                continue;
            }
            let key = match first.token {
                Token::Text => plain_text(&self.text[first.start..first.end]),
                Token::Word => Some(self.word(self.next).to_owned()),
                _ => None,
            };
            match key {
                Some(key) if self.mark(1) == Some(b':') => {
                    self.next += 2;
                    let value = self.value();
                    entries.push(Entry { key, at: first.start, value, overridable: false });
                }
                _ => {
                    if matches!(first.token, Token::Mark(b'.' | b'[')) {
                        entries.iter_mut().for_each(|entry| entry.overridable = true);
                    }
                    self.value();
                }
            }
        }
        self.depth -= 1;
        self.tables[index].entries = entries;
        Node::Table(index)
    }

    fn list(&mut self) -> Node {
        let index = self.lists.len();
        self.lists.push(List { items: None });
        self.next += 1;
        self.depth += 1;
        let mut items = Some(Vec::new());
        while self.next < self.tokens.len() {
            match self.mark(0) {
                Some(b']') => {
                    self.next += 1;
                    break;
                }
                Some(b',') => self.next += 1,
                _ => match self.value() {
                    node @ (Node::Table(_) | Node::List(_)) => {
                        if let Some(items) = &mut items {
                            items.push(node);
                        }
                    }
                    _ => items = None,
                },
            }
        }
        self.depth -= 1;
        self.lists[index] = List { items };
        Node::List(index)
    }

    /// Reads up to the comma or bracket that ends a value.
    fn value(&mut self) -> Node {
        let start = self.next;
        let mut node = Node::Opaque;
        while let Some(at) = self.tokens.get(self.next) {
            let here = self.next;
            match at.token {
                Token::Mark(b'}' | b']' | b')' | b',') => break,
                Token::Mark(b'{') if self.depth < MAX_DEPTH => node = self.table(),
                Token::Mark(b'[') if self.depth < MAX_DEPTH => node = self.list(),
                Token::Mark(b'{' | b'[' | b'(') => self.skip_group(),
                Token::Text => {
                    node = Node::Literal(at.start);
                    self.next += 1;
                }
                _ => self.next += 1,
            }
            if here != start {
                node = Node::Opaque;
            }
        }
        // Always advance, for any text.
        if self.next == start {
            self.next += 1;
        }
        node
    }

    fn skip_group(&mut self) {
        let mut open = 0usize;
        while let Some(at) = self.tokens.get(self.next) {
            match at.token {
                // Tables inside of calls (`define({…})`, `.map(x => ({…}))`) can still be found by
                // their name.
                Token::Mark(b'{') if open > 0 && self.depth < MAX_DEPTH => {
                    self.table();
                    continue;
                }
                Token::Mark(b'{' | b'[' | b'(') => open += 1,
                Token::Mark(b'}' | b']' | b')') => {
                    open = open.saturating_sub(1);
                    if open == 0 {
                        self.next += 1;
                        return;
                    }
                }
                _ => {}
            }
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(text: &str, app: &str, value: &Value, key: &str) -> Option<u32> {
        Positions::scan(text).of(app, value, &[key.into()]).map(|position| position.line)
    }

    #[test]
    fn finds_keys_in_exported_literals() {
        let text = "// apps\nmodule.exports = {\n  apps: [{\n    name: 'a', // it's\n    args: /[/]}/,\n  }, {\n    \"name\": \"b\",\n    max_restarts: f({x: 1}),\n    env: {\n      A: 1 } }]\n}";
        let a = json!({"name": "a", "args": {}});
        let b = json!({"name": "b", "max_restarts": "ten", "env": {"A": 1}});
        assert_eq!(line(text, "apps[0]", &a, "args"), Some(5));
        assert_eq!(line(text, "apps[1]", &b, "max_restarts"), Some(8));
        let position = Positions::scan(text).of("apps[1]", &b, &["env".into(), "A".into()]);
        assert_eq!(position, Some(Position { line: 10, column: 7 }));
    }

    #[test]
    fn finds_apps_by_name_if_the_path_does_not_resolve() {
        let text = "const x = {name: 'x',\n nme: 1};\nconst y = {\n  name: 'y', bad: 2};\nmodule.exports = {apps: [x, y]};";
        assert_eq!(line(text, "apps[1]", &json!({"name": "y", "bad": 2}), "bad"), Some(4));
        assert_eq!(line(text, "apps[0]", &json!({"name": "x", "nme": 1}), "nme"), Some(2));
    }

    #[test]
    fn returns_no_position_if_the_literal_is_ambiguous() {
        // Computed apps: the literal at the path differs from the evaluated value.
        let text = "module.exports = {apps: [{name: 'a', bad: 1}]}; module.exports.apps.unshift(other)";
        assert_eq!(line(text, "apps[0]", &json!({"name": "other", "bad": 1}), "bad"), None);
        // A later spread may have replaced the value.
        let text = "module.exports = {apps: [{name: 'a', bad: 1, ...more}]}";
        assert_eq!(line(text, "apps[0]", &json!({"name": "a", "bad": 1}), "bad"), None);
        // Two apps of the same name.
        let text = "const a = {name: 'a', bad: 1}; const b = {name: 'a', bad: 1}; module.exports = [a, b]";
        assert_eq!(line(text, "[0]", &json!({"name": "a", "bad": 1}), "bad"), None);
    }

    #[test]
    fn survives_unbalanced_and_deeply_nested_brackets() {
        for text in ["{", "[[[[", "}}}{{{", "({[", "module.exports = {a: [", "`${", "/", "'", "{:,:,}", "{{{}}}: [}"] {
            assert_eq!(line(text, "apps[0]", &json!({}), "x"), None, "{text}");
        }
        let deep = "[{a:".repeat(100_000);
        assert_eq!(line(&deep, "apps[0]", &json!({}), "x"), None);
    }
}
