//! Sessions with a pm2-like binary as comparable text.

use serde_json::Value;

use crate::home::Home;
use crate::output::Output;
use crate::words::Words;

/// Commands, exit codes and output of a session. All parts that differ between runs are replaced:
/// paths, pids, ages, sizes, times. If two transcripts are equal, the programs behave alike.
#[derive(Debug)]
pub struct Transcript<'a> {
    home: &'a Home,
    text: String,
}

impl<'a> Transcript<'a> {
    /// Creates an empty transcript.
    pub fn new(home: &'a Home) -> Self {
        Self { home, text: String::new() }
    }

    /// Returns the home of the session.
    pub fn home(&self) -> &'a Home {
        self.home
    }

    /// Runs a command and records its output.
    #[track_caller]
    pub fn run(&mut self, words: impl Words) -> Output {
        let output = self.home.run(words);
        self.add(&output);
        output
    }

    /// Records the output of a command that was run separately.
    pub fn add(&mut self, output: &Output) {
        let line = output.line.trim_start_matches("pm2 ").trim_start_matches("ostler ");
        self.text += &self.normal(&format!("$ {line}"));
        self.text += &format!("  [exit {}]\n", output.code);
        for (mark, stream) in [(" ", &output.stdout), ("!", &output.stderr)] {
            for line in self.normal(stream).lines() {
                self.text += format!("{mark} {line}").trim_end();
                self.text += "\n";
            }
        }
    }

    /// Records a remark.
    pub fn note(&mut self, text: impl std::fmt::Display) {
        self.text += &self.normal(&format!("# {text}"));
        self.text += "\n";
    }

    /// Returns the text.
    pub fn finish(self) -> String {
        self.text
    }

    fn normal(&self, text: &str) -> String {
        let root = self.home.root().to_string_lossy().into_owned();
        let fixtures = crate::fixtures::fixture_path("apps");
        let mut text = text.to_owned();
        for (path, name) in
            [(format!("{root}/home"), "<home>"), (format!("{root}/work"), "<work>"), (root.clone(), "<root>"), (fixtures, "<apps>")]
        {
            text = text.replace(&path, name);
        }
        let mut header = Vec::new();
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with("host metrics")) {
            let line = if line.starts_with('│') { row(line, &mut header) } else { words(line) };
            if line.starts_with('┌') {
                header.clear();
            }
            lines.push(if line.starts_with(['┌', '├', '└']) { line[..'┌'.len_utf8()].to_owned() } else { line });
        }
        // Actions run in parallel, so the order of their results is random.
        lines.chunk_by_mut(|a, b| a.ends_with('✓') && b.ends_with('✓')).for_each(<[String]>::sort);
        lines.join("\n").trim_end_matches('\n').to_owned()
    }
}

/// Returns a table row with single blanks. Variable cells are replaced by column name (list) or row
/// name (describe).
fn row(line: &str, header: &mut Vec<String>) -> String {
    let mut cells: Vec<String> = line.trim_matches('│').split('│').map(|cell| cell.trim().to_owned()).collect();
    if cells.len() > 2 {
        if header.is_empty() {
            header.clone_from(&cells);
        } else {
            header.iter().zip(&mut cells).for_each(|(column, cell)| changing(column, cell));
        }
    } else if let [name, value] = cells.as_mut_slice() {
        changing(&name.clone(), value);
    }
    cells.iter().map(|cell| words(cell)).collect::<Vec<_>>().join(" │ ")
}

fn changing(name: &str, cell: &mut String) {
    let steady = match name {
        "pid" => cell == "0",
        "uptime" => cell == "0",
        "cpu" | "mem" | "memory" | "created at" | "user" | "node.js version" | "Heap Size" | "Heap Usage" | "Used Heap Size" => false,
        _ => true,
    };
    if !steady {
        *cell = format!("<{name}>");
    }
}

/// Replaces variable numbers and times, word by word.
fn words(line: &str) -> String {
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn word(word: &str) -> String {
    let core = word.trim_matches(|c: char| !c.is_alphanumeric());
    let digits = !core.is_empty() && core.bytes().all(|b| b.is_ascii_digit());
    let replaced = if core.len() == 13 && digits {
        "<epoch>"
    } else if is_uuid(core) {
        "<uuid>"
    } else if core.len() >= 19 && core.as_bytes()[4] == b'-' && core.as_bytes()[10] == b'T' {
        "<time>"
    } else {
        return word.to_owned();
    };
    word.replace(core, replaced)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().enumerate().all(|(i, b)| if [8, 13, 18, 23].contains(&i) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// Returns the keys and types of an object, one line each, sorted: `autorestart: bool`.
pub fn shape(value: &Value) -> Vec<String> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let mut lines: Vec<String> = value.as_object().into_iter().flatten().map(|(key, value)| format!("{key}: {}", kind(value))).collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changing_cells_of_rows_are_replaced() {
        let mut header = Vec::new();
        assert_eq!(row("│ id │ name  │ pid      │ uptime │ status    │ cpu   │", &mut header), "id │ name │ pid │ uptime │ status │ cpu");
        assert_eq!(
            row("│ 0  │ 12345 │ 28414    │ 28s    │ online    │ 0.1%  │", &mut header),
            "0 │ 12345 │ <pid> │ <uptime> │ online │ <cpu>"
        );
        assert_eq!(row("│ 1  │ b     │ 0        │ 0      │ stopped   │ 0%    │", &mut header), "1 │ b │ 0 │ 0 │ stopped │ <cpu>");
        assert_eq!(row("│ created at        │ 2026-11-21T03:58:11.123Z │", &mut Vec::new()), "created at │ <created at>");
        assert_eq!(row("│ script path       │ /x/y │", &mut Vec::new()), "script path │ /x/y");
    }

    #[test]
    fn table_columns_are_normalized_by_header() {
        let home = Home::new(crate::Subject::Ostler("unused".into()));
        let transcript = Transcript::new(&home);
        let table = "┌────┬──┐\n│ id │ pid   │ mem │\n├────┼──┤\n│ 0  │ 28414 │ 3mb │\n│ 1  │ 0     │ 0b  │\n└────┴──┘\n";
        assert_eq!(transcript.normal(table), "┌\nid │ pid │ mem\n├\n0 │ <pid> │ <mem>\n1 │ 0 │ <mem>\n└");
        assert_eq!(transcript.normal("[PM2] [b](1) ✓\n[PM2] [a](0) ✓\nend"), "[PM2] [a](0) ✓\n[PM2] [b](1) ✓\nend");
        let path = format!("Script not found: {}/x.js", home.work().display());
        assert_eq!(transcript.normal(&path), "Script not found: <work>/x.js");
    }

    #[test]
    fn changing_words_are_replaced() {
        assert_eq!(words("at 2026-11-21T03:58:11: pid 17 '1795227870252',"), "at <time>: pid 17 '<epoch>',");
        assert_eq!(words("unique_id: c049797b-b9cf-4fa3-8385-790f65faabb2"), "unique_id: <uuid>");
    }

    #[test]
    fn shape_lists_keys_with_types_in_order() {
        assert_eq!(shape(&json!({"b": [], "a": true, "c": {"d": 1}})), ["a: bool", "b: array", "c: object"]);
    }
}
