//! Arguments and environments as the kernel takes them: texts that each end with a NUL, in one piece of memory.

use std::ffi::{CStr, CString};
use std::fmt;

/// A list of C strings in one allocation: an environment of a hundred variables is built, sent and executed without a hundred copies.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CStrings {
    /// Each text with its NUL.
    bytes: Vec<u8>,
    count: usize,
}

/// A text had a NUL in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a NUL byte in it")]
pub struct Nul;

impl CStrings {
    /// Appends one text, given in parts.
    ///
    /// # Errors
    /// [`Nul`]; the list is as before.
    pub fn push(&mut self, parts: &[&[u8]]) -> Result<(), Nul> {
        if parts.iter().any(|part| part.contains(&0)) {
            return Err(Nul);
        }
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.push(0);
        self.count += 1;
        Ok(())
    }

    /// From the bytes of [`CStrings::as_bytes`]; `None` when the last text has no end.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let whole = bytes.last().is_none_or(|last| *last == 0);
        whole.then(|| Self { bytes: bytes.to_vec(), count: bytes.iter().filter(|byte| **byte == 0).count() })
    }

    /// All texts, each with its NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.count
    }

    /// No text at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The array that `execve` takes: a pointer to each text, then null. Valid as long as the list is not changed.
    pub(crate) fn pointers(&self) -> Vec<*const libc::c_char> {
        let mut pointers = Vec::with_capacity(self.count + 1);
        pointers.extend(self.bytes.split_inclusive(|byte| *byte == 0).map(|text| text.as_ptr().cast()));
        pointers.push(std::ptr::null());
        pointers
    }

    /// The texts.
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
    fn texts_come_back() {
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
    fn foreign_bytes_are_whole_texts_or_nothing() {
        assert_eq!(CStrings::from_bytes(b""), Some(CStrings::default()));
        assert_eq!(CStrings::from_bytes(b"a\0b"), None);
        assert_eq!(CStrings::from_bytes(b"\0").map(|list| list.len()), Some(1));
    }
}
