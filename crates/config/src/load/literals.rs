//! Tolerant scanner of JSON, JSON5 and JavaScript. It knows only brackets, texts and comments, and
//! never evaluates: for JavaScript it may find no literal, or a literal that differs from the
//! evaluated value.

use serde_json::Value;

use super::key_path::{Segment, position_at};
use crate::problem::Position;

/// Keys of `jobs` and `static` that are at other places in the evaluated table.
const MOVED: &[&str] = &["schedule", "cron", "cron_restart", "timeout", "retry_delay", "path", "host", "port", "homepage", "directory"];

/// Literals that were found in a text.
#[derive(Clone, Debug)]
pub(super) struct Scanned {
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
    /// Offset and value of each item; none if an item is spread, which moves the others.
    items: Option<Vec<(usize, Node)>>,
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
    pub(super) fn of(text: &str) -> Self {
        let tokens = tokens(text);
        let mut parser = Parser { text, tokens: &tokens, next: 0, depth: 0, tables: Vec::new(), lists: Vec::new(), root: None };
        parser.program();
        let Parser { tables, lists, root, .. } = parser;
        Self { text: text.to_owned(), tables, lists, root }
    }

    pub(super) fn trusted(&self, app: &str, value: &Value, segments: &[Segment]) -> Option<Position> {
        self.inside(self.by_path(app, value).or_else(|| self.by_name(value))?, segments)
    }

    /// Returns the position of a part of an app in a file that the config file loads.
    pub(super) fn trusted_alone(&self, value: &Value, segments: &[Segment]) -> Option<Position> {
        self.inside(self.by_name(value).or_else(|| self.as_whole(value))?, segments)
    }

    fn inside(&self, block: usize, segments: &[Segment]) -> Option<Position> {
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
                (Segment::Index(index), Node::List(list)) => {
                    (offset, node) = *self.lists.get(list)?.items.as_ref()?.get(*index)?;
                }
                (_, _) => return None,
            }
        }
        Some(position_at(&self.text, offset))
    }

    /// Returns the table at `apps[1]` of the exported literal, if it agrees with the evaluated
    /// table.
    fn by_path(&self, app: &str, value: &Value) -> Option<usize> {
        match self.at(app)?.1 {
            Node::Table(table) if self.agrees(table, value) => Some(table),
            _ => None,
        }
    }

    /// Returns the position of a path of the exported literal.
    pub(super) fn part(&self, path: &str) -> Option<Position> {
        self.at(path)?.0.map(|offset| position_at(&self.text, offset))
    }

    /// Returns the offset (none for the root) and the value at a path of the exported literal.
    fn at(&self, path: &str) -> Option<(Option<usize>, Node)> {
        let mut found = (None, self.root?);
        for segment in path.split(['.', '[']).filter(|segment| !segment.is_empty()) {
            let (offset, node) = match (found.1, segment.strip_suffix(']')) {
                (Node::Table(table), None) => {
                    let entry = self.tables.get(table)?.entries.iter().rfind(|entry| entry.key == segment)?;
                    if entry.overridable {
                        return None;
                    }
                    (entry.at, entry.value)
                }
                (Node::List(list), Some(index)) => *self.lists.get(list)?.items.as_ref()?.get(index.parse::<usize>().ok()?)?,
                _ => return None,
            };
            found = (Some(offset), node);
        }
        Some(found)
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

    /// Returns the exported table, if it has a text of the evaluated table.
    fn as_whole(&self, value: &Value) -> Option<usize> {
        let Node::Table(root) = self.root? else { return None };
        let table = self.tables.get(root)?;
        let is_same = |text: String, entry: &Entry| value.get(&entry.key).and_then(Value::as_str) == Some(text.as_str());
        let has_text = |entry: &Entry| self.literal(table, &entry.key).is_some_and(|text| is_same(text, entry));
        (table.entries.iter().any(has_text) && self.agrees(root, value)).then_some(root)
    }

    /// Returns true if every text literal of the table equals the evaluated value of its key.
    fn agrees(&self, table: usize, value: &Value) -> bool {
        let Some(table) = self.tables.get(table) else { return false };
        table.entries.iter().filter(|entry| !entry.overridable).all(|entry| match self.literal(table, &entry.key) {
            Some(text) => value.get(&entry.key).map_or(MOVED.contains(&entry.key.as_str()), |value| value.as_str() == Some(&text)),
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

/// Returns the relative paths that a program loads: `require("./a")`, `from "./b"`, `import "./c"`.
pub(crate) fn loaded_paths(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let word = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |token| &text[token.start..token.end]);
    let loads = |at: usize| match word(at.checked_sub(1)) {
        "(" => matches!(word(at.checked_sub(2)), "require" | "import"),
        before => matches!(before, "from" | "import"),
    };
    let paths = tokens.iter().enumerate().filter(|(at, token)| token.token == Token::Text && loads(*at));
    let paths = paths.filter_map(|(_, token)| plain_text(&text[token.start..token.end]));
    paths.filter(|path| path.starts_with("./") || path.starts_with("../")).collect()
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
        while let Some(first) = self.tokens.get(self.next).copied() {
            match self.mark(0) {
                Some(b']') => {
                    self.next += 1;
                    break;
                }
                Some(b',') => self.next += 1,
                mark => {
                    let node = self.value();
                    match &mut items {
                        Some(items) if mark != Some(b'.') => items.push((first.start, node)),
                        items => *items = None,
                    }
                }
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
