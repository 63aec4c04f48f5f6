//! Value of a secret, and a map of values by variable.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use ostler_sys::SecretBytes;

/// Secret text. It is never shown, and overwritten when it is no longer needed.
pub(crate) struct Value(SecretBytes);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl Deref for Value {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was made from a text")
    }
}

impl fmt::Debug for Value {
    /// Never shows the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

/// Values by the names of their variables.
#[derive(Default)]
pub(crate) struct Values(BTreeMap<String, Value>);

impl Values {
    /// Returns true if the map has a value of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Adds a value.
    pub(crate) fn insert(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// Takes the value of this name; a second call returns `None`.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Returns the values as variables.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }
}

impl fmt::Debug for Values {
    /// Never shows the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_secret_values() {
        let mut values = Values::default();
        values.insert("TOKEN", "v4lue".into());
        assert_eq!(format!("{values:?}"), r#"{"TOKEN"}"#);
        assert_eq!(format!("{:?}", values.take("TOKEN")), "Some(a secret)");
    }
}
