//! Painter: the bytes that turn one picture into another. Only cells that differ are written.

use std::io::Write as _;

use super::cells::{Cell, Picture, Tone};

/// Alternate screen, no cursor, mouse with large coordinates, marked pastes.
pub(crate) const BEGIN: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[2J";
/// Reverses [`BEGIN`], in the opposite order.
pub(crate) const END: &[u8] = b"\x1b[?2004l\x1b[?1006l\x1b[?1000l\x1b[0m\x1b[?25h\x1b[?1049l";

/// Adds the bytes for the differences. Pictures of different sizes are redrawn completely.
pub(crate) fn changes(before: Option<&Picture>, after: &Picture, has_colors: bool, out: &mut Vec<u8>) {
    let known = before.filter(|before| (before.width, before.height) == (after.width, after.height));
    if known.is_none() {
        out.extend_from_slice(b"\x1b[0m\x1b[2J");
    }
    let blank = Picture::blank(after.width, after.height, false);
    let before = known.unwrap_or(&blank);
    let mut tone = None;
    for y in 0..after.height {
        // Column at which the cursor is known to be.
        let mut cursor = None;
        for (x, (old, new)) in before.row(y).iter().zip(after.row(y)).enumerate() {
            if old == new || new.ch == Cell::REST {
                continue;
            }
            if cursor != Some(x) {
                let _ = write!(out, "\x1b[{};{}H", y + 1, x + 1);
            }
            if tone.replace(new.tone) != Some(new.tone) {
                let _ = write!(out, "\x1b[{}m", sgr(new.tone, has_colors));
            }
            let _ = write!(out, "{}", new.ch);
            // Terminals disagree about the width of some characters, but not about the width of
            // these.
            let is_certain = new.ch.is_ascii() || ('\u{2500}'..='\u{259f}').contains(&new.ch);
            cursor = is_certain.then_some(x + 1);
        }
    }
    if tone.is_some_and(|tone| tone != Tone::Plain) {
        out.extend_from_slice(b"\x1b[0m");
    }
}

fn sgr(tone: Tone, has_colors: bool) -> &'static str {
    match (tone, has_colors) {
        (Tone::Plain, _) => "0",
        (Tone::Inverse, _) => "0;7",
        (Tone::Bold, _) | (Tone::Title | Tone::Bad, false) => "0;1",
        (Tone::Dim | Tone::Good | Tone::Busy | Tone::Warn, false) => "0",
        (Tone::Dim, true) => "0;90",
        (Tone::Title, true) => "0;1;36",
        (Tone::Good, true) => "0;32",
        (Tone::Busy, true) => "0;34",
        (Tone::Warn, true) => "0;33",
        (Tone::Bad, true) => "0;1;31",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(lines: &[&str]) -> Picture {
        let mut picture = Picture::blank(10, lines.len(), false);
        for (y, line) in lines.iter().enumerate() {
            picture.put(0, y, 10, line, Tone::Plain);
        }
        picture
    }

    fn bytes(before: Option<&Picture>, after: &Picture) -> String {
        let mut out = Vec::new();
        changes(before, after, true, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// A simulated terminal: cells, and the position of the cursor. If half of a wide character is
    /// overwritten, the other half becomes blank.
    struct Played {
        width: usize,
        cells: Vec<char>,
        at: usize,
    }

    impl Played {
        fn take(&mut self, text: &str) {
            let mut rest = text;
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                if c != '\u{1b}' {
                    self.show(c);
                    continue;
                }
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let (parameters, last) = (&rest[1..end], rest.as_bytes()[end]);
                rest = &rest[end + 1..];
                match last {
                    b'J' => self.cells.fill(' '),
                    b'H' => {
                        let (y, x) = parameters.split_once(';').unwrap();
                        self.at = (y.parse::<usize>().unwrap() - 1) * self.width + x.parse::<usize>().unwrap() - 1;
                    }
                    _ => assert_eq!(last, b'm'),
                }
            }
        }

        fn show(&mut self, c: char) {
            use unicode_width::UnicodeWidthChar as _;
            let wide = c.width().unwrap();
            if self.cells[self.at] == Cell::REST {
                self.cells[self.at - 1] = ' ';
            }
            if self.cells.get(self.at + wide).is_some_and(|after| *after == Cell::REST) {
                self.cells[self.at + wide] = ' ';
            }
            self.cells[self.at] = c;
            if wide == 2 {
                self.cells[self.at + 1] = Cell::REST;
            }
            self.at += wide;
        }
    }

    proptest::proptest! {
        #[test]
        fn painted_screen_equals_picture_after_any_state(
            pictures in proptest::collection::vec(proptest::collection::vec((0usize..12, 0usize..3, 0usize..12, "[a-c日本─█🚀 \\x1b\u{301}]{0,8}"), 0..6), 1..5)
        ) {
            let mut terminal = Played { width: 10, cells: vec!['?'; 30], at: 0 };
            let mut before = None;
            for puts in pictures {
                let mut after = Picture::blank(10, 3, false);
                for (x, y, columns, text) in puts {
                    after.put(x, y, columns, &text, Tone::Plain);
                }
                let shown = bytes(before.as_ref(), &after);
                terminal.take(&shown);
                let wanted: Vec<char> = (0..3).flat_map(|y| after.row(y)).map(|cell| cell.ch).collect();
                proptest::prop_assert_eq!(&terminal.cells, &wanted, "{:?}", shown);
                before = Some(after);
            }
        }
    }

    #[test]
    fn only_changed_cells_are_written() {
        let (one, two) = (picture(&["abc", "def"]), picture(&["abc", "dXf"]));
        assert_eq!(bytes(Some(&one), &one), "");
        assert_eq!(bytes(Some(&one), &two), "\x1b[2;2H\x1b[0mX");
        assert_eq!(bytes(None, &two), "\x1b[0m\x1b[2J\x1b[1;1H\x1b[0mabc\x1b[2;1HdXf");
    }

    #[test]
    fn overwritten_wide_characters_leave_no_half() {
        let (wide, narrow) = (picture(&["日本"]), picture(&["a 本"]));
        assert_eq!(bytes(Some(&wide), &narrow), "\x1b[1;1H\x1b[0ma ");
        assert_eq!(bytes(Some(&narrow), &wide), "\x1b[1;1H\x1b[0m日");
    }

    #[test]
    fn colours_are_omitted_if_disabled() {
        let mut picture = Picture::blank(4, 1, false);
        picture.put(0, 0, 1, "a", Tone::Bad);
        picture.put(1, 0, 1, "b", Tone::Good);
        picture.put(2, 0, 1, "c", Tone::Inverse);
        let mut out = Vec::new();
        changes(None, &picture, false, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\x1b[0m\x1b[2J\x1b[1;1H\x1b[0;1ma\x1b[0mb\x1b[0;7mc\x1b[0m");
    }
}
