//! Mistakes inside the value of an attribute.

use crate::load::positions::Segment;

/// A message, and the way from the attribute to the wrong part of its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    pub way: Vec<Segment>,
    pub message: String,
}

/// Key of an attribute, and the mistake in its value.
pub(crate) type KeyFault = (&'static str, Fault);

impl Fault {
    /// Returns the same mistake, seen from the table or list that contains the value.
    #[must_use]
    pub(crate) fn below(mut self, segment: impl Into<Segment>) -> Self {
        self.way.insert(0, segment.into());
        self
    }

    /// Returns the same mistake with another message.
    #[must_use]
    pub(crate) fn in_words(mut self, words: impl FnOnce(&str) -> String) -> Self {
        self.message = words(&self.message);
        self
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { way: Vec::new(), message }
    }
}

impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.message
    }
}

/// Returns a function for `map_err` that names the key or index below which the mistake is.
pub(crate) fn below<E: Into<Fault>>(segment: impl Into<Segment>) -> impl FnOnce(E) -> Fault {
    |error| error.into().below(segment)
}
