//! Typed input: bytes of the terminal as keys and clicks.

/// Most bytes of one sequence; longer input is no sequence.
const LONGEST: usize = 32;
/// Most bytes of a paste that are kept.
const LONGEST_PASTE: usize = 1024;

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Ctrl(char),
    Enter,
    Escape,
    Tab,
    BackTab,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Something that was typed or pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Key(Key),
    /// A click with the left button at a column and row, from 0.
    Click(usize, usize),
    /// A turn of the wheel at a column and row, up or down.
    Wheel {
        x: usize,
        y: usize,
        up: bool,
    },
    /// Pasted text; it never counts as keys.
    Paste(String),
}

/// Reader of the bytes; keeps the start of a sequence until its end arrives.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    partial: Vec<u8>,
    paste: Option<Vec<u8>>,
}

/// Result of parsing the next bytes.
enum ParseResult {
    /// This number of bytes is this input.
    Input(usize, Option<Input>),
    /// This number of bytes starts a paste.
    Paste(usize),
    /// More bytes must arrive.
    Partial,
}

impl Reader {
    /// Takes bytes; returns the complete inputs.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Input> {
        self.partial.extend_from_slice(bytes);
        let mut found = Vec::new();
        loop {
            if self.paste.is_some() && !self.read_paste(&mut found) {
                return found;
            }
            match next(&self.partial) {
                ParseResult::Input(length, input) => {
                    self.partial.drain(..length);
                    found.extend(input);
                }
                ParseResult::Paste(length) => {
                    self.partial.drain(..length);
                    self.paste = Some(Vec::new());
                }
                ParseResult::Partial => return found,
            }
        }
    }

    /// Adds to the paste; returns true when it has ended.
    fn read_paste(&mut self, found: &mut Vec<Input>) -> bool {
        const END: &[u8] = b"\x1b[201~";
        let at = memchr::memmem::find(&self.partial, END);
        // A part of the end marker may have arrived.
        let length = at.unwrap_or_else(|| self.partial.len().saturating_sub(END.len() - 1));
        let Some(paste) = &mut self.paste else { return true };
        let room = LONGEST_PASTE.saturating_sub(paste.len());
        paste.extend(self.partial.drain(..length).take(room));
        if at.is_none() {
            return false;
        }
        self.partial.drain(..END.len());
        found.extend(self.paste.take().map(|bytes| Input::Paste(String::from_utf8_lossy(&bytes).into_owned())));
        true
    }

    /// Returns true if it waits for the rest of a sequence. If nothing more arrives, the bytes were
    /// a key.
    pub(crate) fn waits(&self) -> bool {
        !self.partial.is_empty() && self.paste.is_none()
    }

    /// Gives up waiting: the bytes so far are a key, or are dropped.
    pub(crate) fn give_up(&mut self) -> Option<Input> {
        let partial = if self.waits() { std::mem::take(&mut self.partial) } else { Vec::new() };
        (partial == [0x1b]).then_some(Input::Key(Key::Escape))
    }
}

fn next(bytes: &[u8]) -> ParseResult {
    let key = |length, key| ParseResult::Input(length, Some(Input::Key(key)));
    match *bytes {
        [] => ParseResult::Partial,
        [0x1b] | [0x1b, b'[' | b'O'] => ParseResult::Partial,
        [0x1b, b'[', ref rest @ ..] => control_sequence(rest),
        [0x1b, b'O', last, ..] => ParseResult::Input(3, named(last).map(Input::Key)),
        // Two Escape bytes, or a key with Alt, which has no meaning here.
        [0x1b, 0x1b, ..] => key(1, Key::Escape),
        [0x1b, ..] => ParseResult::Input(2, None),
        [b'\r' | b'\n', ..] => key(1, Key::Enter),
        [b'\t', ..] => key(1, Key::Tab),
        [0x7f | 0x08, ..] => key(1, Key::Backspace),
        [byte @ 0x01..=0x1a, ..] => key(1, Key::Ctrl(char::from(byte + 0x60))),
        [0x00..=0x1f, ..] => ParseResult::Input(1, None),
        _ => character(bytes),
    }
}

fn character(bytes: &[u8]) -> ParseResult {
    let end = bytes.len().min(4);
    for length in 1..=end {
        match std::str::from_utf8(&bytes[..length]) {
            Ok(text) => return ParseResult::Input(length, text.chars().next().map(|c| Input::Key(Key::Char(c)))),
            Err(error) if error.error_len().is_some() => return ParseResult::Input(1, None),
            Err(_) => {}
        }
    }
    if end < 4 { ParseResult::Partial } else { ParseResult::Input(1, None) }
}

/// Parses the bytes after `ESC [`.
fn control_sequence(rest: &[u8]) -> ParseResult {
    let Some(end) = rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
        return if rest.len() > LONGEST { ParseResult::Input(rest.len() + 2, None) } else { ParseResult::Partial };
    };
    let (parameters, last) = (&rest[..end], rest[end]);
    let length = end + 3;
    let input = match (parameters, last) {
        (b"200", b'~') => return ParseResult::Paste(length),
        ([b'<', mouse @ ..], b'M') => click(mouse),
        (b"5", b'~') => Some(Input::Key(Key::PageUp)),
        (b"6", b'~') => Some(Input::Key(Key::PageDown)),
        (b"1" | b"7", b'~') => Some(Input::Key(Key::Home)),
        (b"4" | b"8", b'~') => Some(Input::Key(Key::End)),
        (_, b'Z') => Some(Input::Key(Key::BackTab)),
        (parameters, last) if !parameters.starts_with(b"<") => named(last).map(Input::Key),
        _ => None,
    };
    ParseResult::Input(length, input)
}

fn named(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => return None,
    })
}

/// Parses `button;column;row`, from 1.
fn click(parameters: &[u8]) -> Option<Input> {
    let text = std::str::from_utf8(parameters).ok()?;
    let mut numbers = text.split(';').map(|number| number.parse::<usize>().ok());
    let (button, x, y) = (numbers.next()??, numbers.next()??.checked_sub(1)?, numbers.next()??.checked_sub(1)?);
    match button {
        0 => Some(Input::Click(x, y)),
        64 => Some(Input::Wheel { x, y, up: true }),
        65 => Some(Input::Wheel { x, y, up: false }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_decoded_as_keys() {
        let key = Input::Key;
        for (bytes, expected) in [
            (&b"q"[..], vec![key(Key::Char('q'))]),
            ("é日".as_bytes(), vec![key(Key::Char('é')), key(Key::Char('日'))]),
            (b"\r\t\x7f\x03", vec![key(Key::Enter), key(Key::Tab), key(Key::Backspace), key(Key::Ctrl('c'))]),
            (b"\x1b[A\x1bOB\x1b[1;5C\x1b[D", vec![key(Key::Up), key(Key::Down), key(Key::Right), key(Key::Left)]),
            (
                b"\x1b[5~\x1b[6~\x1b[H\x1b[4~\x1b[Z",
                vec![key(Key::PageUp), key(Key::PageDown), key(Key::Home), key(Key::End), key(Key::BackTab)],
            ),
            (b"\x1b[<0;3;4M\x1b[<0;3;4m", vec![Input::Click(2, 3)]),
            (b"\x1b[<64;1;1M\x1b[<65;1;2M", vec![Input::Wheel { x: 0, y: 0, up: true }, Input::Wheel { x: 0, y: 1, up: false }]),
            (b"\x1b[<0;0;0M\x1b[<;;M\x1b[<99999999999999999999999;1;1M", vec![]),
            (b"\x1b[200~rm -rf y\r\x1b[201~q", vec![Input::Paste("rm -rf y\r".into()), key(Key::Char('q'))]),
            (b"\xff\xfeq", vec![key(Key::Char('q'))]),
            (b"\x1bx", vec![]),
            (b"\x1b", vec![]),
        ] {
            assert_eq!(Reader::default().take(bytes), expected, "{bytes:?}");
            // Byte by byte, the result is the same.
            let mut reader = Reader::default();
            let single: Vec<Input> = bytes.iter().flat_map(|byte| reader.take(&[*byte])).collect();
            assert_eq!(single, expected, "{bytes:?} in pieces");
        }
    }

    proptest::proptest! {
        #[test]
        fn next_key_is_recognized_after_any_bytes(bytes in proptest::collection::vec(0u8..=255, 0..80)) {
            let mut reader = Reader::default();
            reader.take(&bytes);
            reader.take(b"\x1b[201~");
            reader.give_up();
            proptest::prop_assert_eq!(reader.take(b"q"), vec![Input::Key(Key::Char('q'))]);
        }
    }

    #[test]
    fn lone_escape_is_recognized_after_timeout() {
        let mut reader = Reader::default();
        assert_eq!((reader.take(b"\x1b"), reader.waits()), (vec![], true));
        assert_eq!(reader.give_up(), Some(Input::Key(Key::Escape)));
        reader.take(b"\x1b[1");
        assert_eq!((reader.give_up(), reader.waits()), (None, false));
    }

    #[test]
    fn incomplete_sequences_are_bounded() {
        let mut reader = Reader::default();
        reader.take(b"\x1b[");
        for _ in 0..1000 {
            reader.take(b"1;1;");
            assert!(reader.partial.len() <= 2 * LONGEST, "{}", reader.partial.len());
        }
        reader.take(b"\x1b[200~");
        for _ in 0..1000 {
            reader.take(&[b'x'; 100]);
        }
        assert!(reader.partial.len() < 10 && reader.paste.as_ref().is_some_and(|paste| paste.len() == LONGEST_PASTE));
    }
}
