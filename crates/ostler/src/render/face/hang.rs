//! Lines of styled words with a hanging indent, as wide as the terminal.

use anstyle::Style;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::render::view::View;
use crate::text::ascii;

/// Narrowest part of a line that is left beside an indent.
const NARROWEST: usize = 8;

/// Formats words as lines. The first line starts at `first` columns, the others at `rest` columns. A
/// word that is longer than a line continues on the next line. Without a terminal, there is one line.
pub(crate) fn hang(parts: &[(&str, Style)], (first, rest): (usize, usize), view: &View) -> String {
    let room = view.width.unwrap_or(usize::MAX);
    let indent = |columns: usize| columns.min(room.saturating_sub(NARROWEST));
    let (first, rest) = (indent(first), indent(rest));
    let mut out = " ".repeat(first);
    // Columns of the line so far, and the columns of its indent.
    let (mut used, mut start) = (first, first);
    for (text, style) in parts {
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let gap = usize::from(used > start);
            if used > start && used + gap + columns(word) > room {
                out.push('\n');
                out.push_str(&" ".repeat(rest));
                (used, start) = (rest, rest);
            } else if gap > 0 {
                out.push(' ');
                used += gap;
            }
            for (place, piece) in pieces(word, room.saturating_sub(used), room - rest.min(room)).into_iter().enumerate() {
                if place > 0 {
                    out.push('\n');
                    out.push_str(&" ".repeat(rest));
                    (used, start) = (rest, rest);
                }
                used += columns(&piece);
                out.push_str(&view.paint.with(*style, &piece).to_string());
            }
        }
    }
    out.push('\n');
    out
}

/// Returns the columns of a word, also without UTF-8: some marks are wider there.
fn columns(word: &str) -> usize {
    word.width().max(ascii(word).width())
}

/// Cuts a word into pieces: the first has at most `first` columns, the others at most `rest`.
fn pieces(word: &str, first: usize, rest: usize) -> Vec<String> {
    let (mut pieces, mut piece, mut used, mut room) = (Vec::new(), String::new(), 0, first);
    for c in word.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > room && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
            (used, room) = (0, rest);
        }
        used += wide;
        piece.push(c);
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(width: Option<usize>, text: &str) -> String {
        hang(&[("✗", Style::new()), (text, Style::new())], (0, 2), &View::played(0, width))
    }

    #[test]
    fn words_continue_below_their_beginning() {
        assert_eq!(at(None, "one two  three"), "✗ one two three\n");
        assert_eq!(at(Some(13), "one two three"), "✗ one two\n  three\n");
        assert_eq!(at(Some(12), "a averyverylongword b"), "✗ a\n  averyveryl\n  ongword b\n");
        assert_eq!(at(Some(12), "日本語日本語日本語"), "✗\n  日本語日本\n  語日本語\n");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 10..200 {
            for text in ["ecosystem.config.js:12:7: max_restarts: expected a number, found \"ten\"", &"x".repeat(300), "日本 é → ✓ "]
            {
                let shown = at(Some(width), text);
                assert!(shown.lines().all(|line| columns(line) <= width), "{width}\n{shown}");
                let all: String = shown.split_whitespace().collect();
                assert_eq!(all, format!("✗{}", text.replace(' ', "")), "{width}");
            }
        }
    }
}
