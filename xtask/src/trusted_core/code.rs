//! Code of a Rust source: its lines without comments and tests.

/// Keeps the lines with code. The module of tests at the end is no part of the program.
pub(super) fn only(source: &str) -> String {
    let end = source.find("#[cfg(test)]\nmod tests {").unwrap_or(source.len());
    let mut code = String::new();
    for line in source[..end].lines() {
        let line = without_comment(line).trim_end();
        if !line.trim_start().is_empty() {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// Returns the number of lines of the result of [`only`].
pub(super) fn lines(code: &str) -> usize {
    code.lines().count()
}

/// Counts the keyword `unsafe` in the result of [`only`], outside of strings.
pub(super) fn unsafes(code: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let in_line = |line: &str| {
        let found = line.match_indices("unsafe").filter(|(at, word)| {
            let (before, after) = (&line[..*at], &line[at + word.len()..]);
            !before.ends_with(is_word) && !after.starts_with(is_word) && before.matches('"').count().is_multiple_of(2)
        });
        found.count()
    };
    code.lines().map(in_line).sum()
}

/// Cuts a line at `//`, unless a string contains it.
fn without_comment(line: &str) -> &str {
    let cut = line.match_indices("//").find(|(at, _)| line[..*at].matches('"').count().is_multiple_of(2));
    cut.map_or(line, |(at, _)| &line[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blank_lines_and_tests_do_not_count() {
        let source =
            "//! unsafe\n\nlet a = \"http://x\"; // unsafe\n    // c\nunsafe { b() }\n#[cfg(test)]\nmod tests {\n    unsafe {}\n}\n";
        let code = only(source);
        assert_eq!(code, "let a = \"http://x\";\nunsafe { b() }\n");
        assert_eq!((lines(&code), unsafes(&code)), (2, 1));
    }

    #[test]
    fn only_the_keyword_counts() {
        assert_eq!(unsafes("#![forbid(unsafe_code)]\nlet a = \"unsafe\";\n#[unsafe(no_mangle)]\nlet b = unsafe { (unsafe {}) };\n"), 3);
    }
}
