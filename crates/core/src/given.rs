//! Options as the user gave them. A supervisor of a thousand apps holds a thousand of these and reads them only when somebody asks for all that is
//! known: until then they are one text, a tenth of what the map takes.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Options by their names, in the order in which they were given. It reads as the map that it stands for; where it is packed, the first such
/// reading keeps that map beside the text. [`Given::open`] keeps nothing.
#[derive(Clone, Default)]
pub struct Given {
    /// All of it, as JSON, where it is packed.
    text: Option<Box<str>>,
    map: OnceLock<Box<Map<String, Value>>>,
}

impl Given {
    /// Packs the map into one text.
    pub fn pack(&mut self) {
        let Some(map) = self.map.take() else { return };
        if self.text.is_none() && !map.is_empty() {
            // A map of texts and values cannot fail to be written; if it did, it would stay a map.
            match serde_json::to_string(&map) {
                Ok(text) => self.text = Some(text.into()),
                Err(_) => self.map = OnceLock::from(map),
            }
        }
    }

    /// The options, unpacked for a moment.
    pub fn open(&self) -> Cow<'_, Map<String, Value>> {
        match (self.map.get(), &self.text) {
            (None, Some(text)) => Cow::Owned(read(text)),
            _ => Cow::Borrowed(self),
        }
    }

    /// True if this option is given as `true`. Asked for every row of a list, so what is packed is opened only where it names the option.
    pub fn is_set(&self, name: &str) -> bool {
        let may_have = match (self.map.get(), &self.text) {
            (None, Some(text)) => text.contains(name),
            _ => true,
        };
        may_have && self.open().get(name) == Some(&Value::Bool(true))
    }
}

/// The map of a text that [`Given::pack`] wrote.
fn read(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

impl Deref for Given {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Map<String, Value> {
        self.map.get_or_init(|| Box::new(self.text.as_deref().map(read).unwrap_or_default()))
    }
}

impl DerefMut for Given {
    fn deref_mut(&mut self) -> &mut Map<String, Value> {
        let _: &Map<_, _> = self;
        // What is changed is not what the text says.
        self.text = None;
        #[expect(clippy::unwrap_used, reason = "it was opened above, and nobody else can have taken it")]
        self.map.get_mut().unwrap()
    }
}

impl From<Map<String, Value>> for Given {
    fn from(map: Map<String, Value>) -> Self {
        Self { text: None, map: OnceLock::from(Box::new(map)) }
    }
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        (self.text.is_some() && self.text == other.text) || self.open() == other.open()
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.open().fmt(f)
    }
}

impl Serialize for Given {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Journal and wire are JSON: there the text goes as it stands.
        match self.text.as_deref().map(serde_json::from_str::<&RawValue>) {
            Some(Ok(raw)) => raw.serialize(to),
            _ => self.open().serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Map::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given() -> Given {
        json!({ "name": "api", "args": ["-v", 1.5], "z": null, "a": { "b": "\u{e9}\n" } }).as_object().cloned().unwrap_or_default().into()
    }

    #[test]
    fn packed_it_is_the_same() {
        let (open, mut packed) = (given(), given());
        packed.pack();
        assert!(packed.map.get().is_none() && packed.text.is_some());
        assert_eq!(open, packed);
        assert_eq!(format!("{open:?}"), format!("{packed:?}"));
        assert_eq!(serde_json::to_string(&open).unwrap(), serde_json::to_string(&packed).unwrap());
        assert_eq!(serde_json::to_value(&open).unwrap(), serde_json::to_value(&packed).unwrap());
        assert_eq!(serde_json::from_str::<Given>(&serde_json::to_string(&packed).unwrap()).unwrap(), open);
        assert!(packed.open().keys().eq(["name", "args", "z", "a"]), "in the order in which they were given");
        assert!(packed.map.get().is_none(), "nothing of that is kept");
        assert_eq!(packed["args"][1], 1.5);
        packed.pack();
        assert!(packed.map.get().is_none() && packed == open);
    }

    #[test]
    fn what_is_changed_is_told_of_the_change() {
        for is_packed in [false, true] {
            let mut changed = given();
            if is_packed {
                changed.pack();
            }
            changed.insert("name".into(), "web".into());
            assert_ne!(changed, given());
            changed.pack();
            assert_eq!(serde_json::to_value(&changed).unwrap()["name"], "web");
            changed.clear();
            changed.pack();
            assert_eq!(serde_json::to_string(&changed).unwrap(), "{}");
        }
    }

    #[test]
    fn nothing_given_takes_no_place() {
        let mut nothing = Given::default();
        nothing.pack();
        assert!(nothing.text.is_none() && nothing.is_empty() && nothing == Given::from(Map::new()));
        assert_eq!(serde_json::to_string(&Given::default()).unwrap(), "{}");
    }
}
