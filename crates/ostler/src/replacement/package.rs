//! Form of a new program file, and the checks whether it may replace this program. Pure.

use std::cmp::Ordering;

use ostler_core::text::language::translated;
use ostler_core::{marked, message};

/// Longest list of checksums, bytes.
pub(super) const CHECKSUM_FILE_MAX: u64 = 1 << 20;
/// Bytes at the start of a file that identify it.
pub(super) const HEAD: usize = 20;

/// Form of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackageForm {
    /// The program itself.
    Plain,
    /// A gzipped tar archive that contains the program.
    Archive,
}

/// Returns the form of a file with this start.
///
/// # Errors
/// Returns an error for the user if it has neither form.
pub(super) fn form(head: &[u8]) -> Result<PackageForm, &'static str> {
    match head {
        [0x1f, 0x8b, ..] => Ok(PackageForm::Archive),
        [0x7f, b'E', b'L', b'F', ..] => Ok(PackageForm::Plain),
        _ => Err(marked!("it is neither a program nor a .tar.gz")),
    }
}

/// Checks that a program with this start runs on this machine. `arch` names the machine as Rust
/// does.
///
/// Source: `elf(5)`: class at byte 4, byte order at 5, type at 16, machine at 18.
///
/// # Errors
/// Returns an error for the user if it does not.
pub(super) fn runs_here(head: &[u8; HEAD], arch: &str) -> Result<(), String> {
    let [0x7f, b'E', b'L', b'F', class, order, ..] = *head else { return Err(message!("it is not an ELF program")) };
    if (class, order) != (2, 1) {
        return Err(message!("it is not a 64-bit little-endian program"));
    }
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    // The type must be an executable, or a position-independent executable.
    if !matches!(half(16), 2 | 3) {
        return Err(message!("it is an ELF file but not a program"));
    }
    let machine = match half(18) {
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        21 => "powerpc64",
        22 => "s390x",
        _ => marked!("another machine"),
    };
    if machine == arch {
        Ok(())
    } else {
        Err(message!("it is for {machine}, but this machine is {arch}", machine = translated(machine), arch))
    }
}

/// Parses a SHA-256 of 64 hexadecimal digits.
///
/// # Errors
/// Returns an error if the text is no SHA-256.
pub(super) fn checksum(text: &str) -> Result<[u8; 32], &'static str> {
    let digits = text.as_bytes();
    let mut sum = [0; 32];
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(marked!("expected 64 hexadecimal digits"));
    }
    for (byte, at) in sum.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| marked!("expected 64 hexadecimal digits"))?;
    }
    Ok(sum)
}

/// Returns the checksum of the file with this name from a list in the format of `sha256sum`
/// (`<64 digits>  name`, `*name` for binary files).
pub(super) fn listed(sums: &str, name: &str) -> Option<[u8; 32]> {
    sums.lines().find_map(|line| {
        let (digits, rest) = line.split_once(' ')?;
        let named = rest.strip_prefix([' ', '*']).unwrap_or(rest);
        (named.strip_prefix("./").unwrap_or(named) == name).then(|| checksum(digits).ok())?
    })
}

/// A version: three numbers, and the pre-release part after `-`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Version<'a> {
    numbers: [u64; 3],
    before: Option<&'a str>,
}

impl<'a> Version<'a> {
    /// Parses the output of `--version`.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        // The part after `+` describes the build.
        let text = text.trim().split('+').next()?;
        let (numbers, before) = text.split_once('-').map_or((text, None), |(numbers, before)| (numbers, Some(before)));
        let mut parts = numbers.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits)
        });
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        (parts.next().is_none() && before != Some("")).then_some(Self { numbers, before })
    }

    /// Compares versions; source: semver.org, chapter 11.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.before, other.before) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => identifiers(a, b),
        })
    }
}

fn identifiers(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(class: u8, order: u8, kind: u8, machine: u8) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
        (head[16], head[18]) = (kind, machine);
        head
    }

    #[test]
    fn form_distinguishes_program_and_archive() {
        assert_eq!(form(&head(2, 1, 2, 62)), Ok(PackageForm::Plain));
        assert_eq!(form(&[0x1f, 0x8b, 8]), Ok(PackageForm::Archive));
        for text in [&b""[..], b"#!/bin/sh\n", b"\x7fEL", b"PK\x03\x04"] {
            assert!(form(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn runs_here_accepts_only_programs_of_this_machine() {
        assert_eq!(runs_here(&head(2, 1, 2, 62), "x86_64"), Ok(()));
        assert_eq!(runs_here(&head(2, 1, 3, 183), "aarch64"), Ok(()));
        for (head, arch, said) in [
            (head(2, 1, 3, 183), "x86_64", "for aarch64"),
            (head(1, 1, 2, 3), "x86_64", "64-bit"),
            (head(2, 2, 2, 0), "x86_64", "little-endian"),
            (head(2, 1, 1, 62), "x86_64", "not a program"),
            (head(2, 1, 2, 200), "x86_64", "another machine"),
            ([0; HEAD], "x86_64", "not an ELF"),
        ] {
            let why = runs_here(&head, arch).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn checksum_parses_hex_and_listed_files() {
        let digits = "0f".repeat(32);
        assert_eq!(checksum(&digits), Ok([15; 32]));
        for bad in ["", "0f", &digits[1..], &format!("{digits}0"), &"xy".repeat(32), &"é".repeat(32)] {
            assert!(checksum(bad).is_err(), "{bad}");
        }
        let sums = format!(
            "# made by hand\n{}  other.tar.gz\n{digits}  ostler.tar.gz\n{digits} *binary\n{digits}  ./here\nbad  broken\n",
            "00".repeat(32)
        );
        assert_eq!(listed(&sums, "ostler.tar.gz"), Some([15; 32]));
        assert_eq!(listed(&sums, "other.tar.gz"), Some([0; 32]));
        assert_eq!(listed(&sums, "binary"), Some([15; 32]));
        assert_eq!(listed(&sums, "here"), Some([15; 32]));
        for none in ["ostler", "", "broken", "r.tar.gz"] {
            assert_eq!(listed(&sums, none), None, "{none}");
        }
    }

    #[test]
    fn versions_compare_by_semver() {
        let order =
            ["0.1.0-alpha", "0.1.0-alpha.1", "0.1.0-alpha.beta", "0.1.0-rc.2", "0.1.0-rc.11", "0.1.0", "0.1.1", "0.2.0", "0.10.0", "1.0.0"];
        for (at, a) in order.iter().enumerate() {
            for (other, b) in order.iter().enumerate() {
                let (a, b) = (Version::of(a).unwrap(), Version::of(b).unwrap());
                assert_eq!(a.compare(&b), at.cmp(&other), "{a:?} {b:?}");
            }
        }
        assert_eq!(Version::of("1.2.3+musl\n"), Version::of("1.2.3"));
        for bad in ["", "1.2", "1.2.3.4", "v1.2.3", "1.+2.3", "1..3", "1.2.3-", "Usage: x", "99999999999999999999.0.0"] {
            assert_eq!(Version::of(bad), None, "{bad}");
        }
    }
}
