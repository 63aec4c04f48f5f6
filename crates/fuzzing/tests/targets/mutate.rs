//! Mutations of kept inputs. The same seed results in the same inputs.

use ostler_testkit::Rng;

/// Longest input.
const LONGEST: usize = 16 << 10;

/// Bytes with a special meaning to one reader or another.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\0\0\0\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\x10\0",
    b"\x80",
    b"\x10",
    b"\x1f",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"\x1b",
    b"\x1b[",
    b"\x1b]",
    b"\xc2\x9b",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\x92\xa5",
    b"\xc3",
    b"\"",
    b"'",
    b"`",
    b"\\",
    b"\\\"",
    b"\\n",
    b"\\u0000",
    b"\\ud800",
    b"\\x",
    b"$",
    b"${A}",
    b"${A:-",
    b"$(",
    b"%",
    b"%h",
    b"%%",
    b"#",
    b"//",
    b"/*",
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"{}",
    b"[]",
    b"[[[[",
    b"{{",
    b"}}",
    b",",
    b":",
    b": ",
    b"=",
    b";",
    b"|",
    b"&a ",
    b"*a",
    b"<<: ",
    b"- ",
    b"---\n",
    b"null",
    b"true",
    b"false",
    b"0",
    b"-1",
    b"1e400",
    b"1e-9",
    b"0x",
    b"NaN",
    b"+Inf",
    b"9223372036854775807",
    b"18446744073709551616",
    b"__proto__",
    b"*",
    b"**",
    b"?",
    b"!",
    b"@",
    b"..",
    b"../",
    b"/",
    b"~",
    b"L",
    b"W",
    b"#5",
    b"*/0",
    b"/0",
    b"59-0",
    b"env",
    b"name",
    b"apps",
    b"script",
    b"\"\"",
];

/// Inputs of a target: its corpus, and how they are changed.
pub(crate) struct Mutator<'a> {
    files: &'a [(String, Vec<u8>)],
    seed: u64,
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(files: &'a [(String, Vec<u8>)], target: &str, seed: u64) -> Self {
        // Each target gets inputs of its own.
        let seed = target.bytes().fold(seed, |seed, byte| seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
        Self { files, seed }
    }

    /// Returns the input of this number.
    pub(crate) fn input(&self, number: u64) -> Vec<u8> {
        let mut rng = Rng::new(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut bytes = self.file(&mut rng).to_vec();
        // Few changes keep most of the structure; some inputs get many.
        let most = if rng.percent(20) { 16 } else { 4 };
        let changes = 1 + rng.below(most);
        for _ in 0..changes {
            self.change(&mut bytes, &mut rng);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn file(&self, rng: &mut Rng) -> &'a [u8] {
        &self.files[rng.below(self.files.len())].1
    }

    fn change(&self, bytes: &mut Vec<u8>, rng: &mut Rng) {
        let at = rng.below(bytes.len() + 1);
        let piece = |bytes: &[u8], rng: &mut Rng| {
            let from = rng.below(bytes.len() + 1);
            let longest = if rng.percent(80) { 16 } else { 300 };
            from..(from + 1 + rng.below(longest)).min(bytes.len())
        };
        match rng.below(11) {
            0 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << rng.below(8)),
            1 => bytes.get_mut(at).into_iter().for_each(|byte| *byte = rng.next_u64().to_le_bytes()[0]),
            2 | 3 => drop(bytes.splice(at..at, rng.pick(WORDS).iter().copied())),
            4 => {
                let range = piece(bytes, rng);
                bytes.splice(range, rng.pick(WORDS).iter().copied());
            }
            5 => {
                let range = piece(bytes, rng);
                bytes.drain(range);
            }
            6 => {
                let copy = bytes[piece(bytes, rng)].to_vec();
                let most = if rng.percent(10) { 40 } else { 2 };
                for _ in 0..=rng.below(most) {
                    bytes.splice(at..at, copy.iter().copied());
                }
            }
            7 => {
                let other = self.file(rng);
                bytes.splice(at..at, other[piece(other, rng)].iter().copied());
            }
            8 => lines(bytes, rng),
            9 => number(bytes, at, rng),
            _ => bytes.truncate(at),
        }
        bytes.truncate(2 * LONGEST);
    }
}

/// Repeats, removes or swaps lines.
fn lines(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (rng.below(lines.len()), rng.below(lines.len()));
    match rng.below(3) {
        0 => lines.insert(other, lines[one]),
        1 => drop(lines.remove(one)),
        _ => lines.swap(one, other),
    }
    *bytes = lines.concat();
}

/// Changes the digits at or after this position to another number.
fn number(bytes: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|more| at + more) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = rng.next_u64() >> rng.below(64);
    let text = if rng.percent(50) { value.to_string() } else { (value % 64).to_string() };
    bytes.splice(start..start + length, text.into_bytes());
}
