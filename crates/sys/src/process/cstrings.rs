//! Arguments and environments in the form that the kernel takes: texts that each end with a NUL, in
//! one piece of memory.

use std::ffi::{CStr, CString};
use std::fmt;

use crate::memory::secret_bytes::SecretBytes;

/// A list of C strings in one allocation. An environment of a hundred variables is built, sent and
/// executed without a hundred copies.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CStrings {
    /// Each text with its NUL. An environment may contain secrets.
    bytes: SecretBytes,
    count: usize,
}

/// Placeholder for the value of a variable: the program gets its own pid there, in decimal. No real
/// value looks like this.
pub const OWN_PID: &str = "\u{1}own pid\u{1}....";

/// Texts of an environment that contain [`OWN_PID`], in memory that the child may write to before
/// it executes the program.
#[derive(Debug, Default)]
pub(crate) struct PidTexts {
    /// Each text with its NUL, and the position of the number.
    texts: Vec<(Vec<u8>, usize)>,
}

impl PidTexts {
    /// Inserts the pid. It neither allocates nor panics, because it runs in the child.
    pub(crate) fn fill(&mut self, pid: u32) {
        for (text, at) in &mut self.texts {
            let digits = pid.checked_ilog10().unwrap_or(0) as usize + 1;
            let mut rest = pid;
            // The place is longer than any number, so the terminating NUL fits.
            let place = text.iter_mut().skip(*at).take(digits + 1);
            let mut backwards = place.rev();
            backwards.by_ref().take(1).for_each(|end| *end = 0);
            for digit in backwards {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
    }
}

/// Error: a text contains a NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it contains a NUL byte")]
pub struct Nul;

impl CStrings {
    /// Appends one text, given in parts.
    ///
    /// # Errors
    /// Returns [`Nul`] if a part contains a NUL; the list is unchanged then.
    pub fn push(&mut self, parts: &[&[u8]]) -> Result<(), Nul> {
        if parts.iter().any(|part| part.contains(&0)) {
            return Err(Nul);
        }
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.push(0);
        self.count += 1;
        Ok(())
    }

    /// Restores a list from the bytes of [`CStrings::as_bytes`], or returns `None` if the last text
    /// has no NUL.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let whole = bytes.last().is_none_or(|last| *last == 0);
        whole.then(|| Self { bytes: bytes.into(), count: bytes.iter().filter(|byte| **byte == 0).count() })
    }

    /// Returns all texts, each with its NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the number of texts.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns true if the list contains no text.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the array that `execve` takes: a pointer to each text, then null. It is valid as
    /// long as the list is not changed.
    pub(crate) fn pointers(&self) -> Vec<*const libc::c_char> {
        let mut pointers = Vec::with_capacity(self.count + 1);
        pointers.extend(self.bytes.split_inclusive(|byte| *byte == 0).map(|text| text.as_ptr().cast()));
        pointers.push(std::ptr::null());
        pointers
    }

    /// Returns [`CStrings::pointers`] for an environment, with separate copies of the texts that
    /// contain [`OWN_PID`].
    pub(crate) fn environment(&self) -> (Vec<*const libc::c_char>, PidTexts) {
        let mut pointers = self.pointers();
        let mut own = PidTexts::default();
        for (pointer, text) in pointers.iter_mut().zip(self.bytes.split_inclusive(|byte| *byte == 0)) {
            let value = text.strip_suffix(&[0]).and_then(|text| text.strip_suffix(OWN_PID.as_bytes()));
            if let Some(name) = value.filter(|name| name.ends_with(b"=")) {
                own.texts.push((text.to_vec(), name.len()));
                // Moving a `Vec` does not move its contents, so the pointer stays valid.
                if let Some((text, _)) = own.texts.last() {
                    *pointer = text.as_ptr().cast();
                }
            }
        }
        (pointers, own)
    }

    /// Returns an iterator over the texts.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.bytes.split_inclusive(|byte| *byte == 0).filter_map(|text| CStr::from_bytes_with_nul(text).ok())
    }
}

impl FromIterator<CString> for CStrings {
    fn from_iter<T: IntoIterator<Item = CString>>(texts: T) -> Self {
        let mut all = Self::default();
        all.extend(texts);
        all
    }
}

impl Extend<CString> for CStrings {
    fn extend<T: IntoIterator<Item = CString>>(&mut self, texts: T) {
        for text in texts {
            self.bytes.extend_from_slice(text.as_bytes_with_nul());
            self.count += 1;
        }
    }
}

impl<const N: usize> From<[&CStr; N]> for CStrings {
    fn from(texts: [&CStr; N]) -> Self {
        texts.into_iter().map(CStr::to_owned).collect()
    }
}

impl fmt::Debug for CStrings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_round_trip_through_bytes() {
        let mut list = CStrings::default();
        list.push(&[b"A", b"=", b"b c"]).unwrap();
        list.push(&[]).unwrap();
        assert_eq!(list.push(&[b"x", b"\0"]), Err(Nul));
        list.extend([c"z".to_owned()]);
        assert_eq!(list.iter().collect::<Vec<_>>(), [c"A=b c", c"", c"z"]);
        assert_eq!((list.len(), list.is_empty()), (3, false));
        assert_eq!(CStrings::from_bytes(list.as_bytes()), Some(list));
    }

    #[test]
    fn pid_fills_its_placeholders() {
        let mut list = CStrings::default();
        list.push(&[b"A=", OWN_PID.as_bytes()]).unwrap();
        list.push(&[b"B=x", OWN_PID.as_bytes()]).unwrap();
        list.push(&[OWN_PID.as_bytes()]).unwrap();
        list.push(&[b"LISTEN_PID=", OWN_PID.as_bytes()]).unwrap();
        for (pid, text) in [(1, "1"), (10, "10"), (4_194_304, "4194304"), (u32::MAX, "4294967295"), (0, "0")] {
            let (pointers, mut own) = list.environment();
            own.fill(pid);
            assert_eq!((pointers.len(), own.texts.len()), (5, 2));
            let read: Vec<_> = own.texts.iter().map(|(bytes, _)| CStr::from_bytes_until_nul(bytes).unwrap().to_str().unwrap()).collect();
            assert_eq!(read, [format!("A={text}"), format!("LISTEN_PID={text}")]);
        }
    }

    #[test]
    fn unterminated_bytes_are_rejected() {
        assert_eq!(CStrings::from_bytes(b""), Some(CStrings::default()));
        assert_eq!(CStrings::from_bytes(b"a\0b"), None);
        assert_eq!(CStrings::from_bytes(b"\0").map(|list| list.len()), Some(1));
    }
}
