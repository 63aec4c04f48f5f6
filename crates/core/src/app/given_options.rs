//! Options as the user gave them. A supervisor of a thousand apps holds a thousand of these. It
//! reads them only for a full description of an app, so they are packed into one text, a tenth of
//! the size of the map.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Options by their names, in the order in which they were given.
#[derive(Clone, Default)]
pub struct GivenOptions(OptionsForm);

/// Stored form of the options.
#[derive(Clone, Default)]
enum OptionsForm {
    /// All options as JSON, written by [`GivenOptions::pack`].
    Packed(Box<str>),
    Open(Box<Map<String, Value>>),
    /// Nothing was given.
    #[default]
    Nothing,
}

impl GivenOptions {
    /// Packs the map into one text.
    pub fn pack(&mut self) {
        let OptionsForm::Open(map) = &self.0 else { return };
        self.0 = match serde_json::to_string(map) {
            _ if map.is_empty() => OptionsForm::Nothing,
            Ok(text) => OptionsForm::Packed(text.into()),
            // Writing a map of texts and values cannot fail. If it did, the map would stay
            // unpacked.
            Err(_) => return,
        };
    }

    /// Returns the options. A packed text is unpacked into a temporary map.
    pub fn open(&self) -> Cow<'_, Map<String, Value>> {
        match &self.0 {
            OptionsForm::Packed(text) => Cow::Owned(read(text)),
            OptionsForm::Open(map) => Cow::Borrowed(map),
            OptionsForm::Nothing => Cow::Owned(Map::new()),
        }
    }

    /// Returns the options for a change.
    pub fn open_mut(&mut self) -> &mut Map<String, Value> {
        if let OptionsForm::Packed(text) = &self.0 {
            self.0 = OptionsForm::Open(Box::new(read(text)));
        } else if let OptionsForm::Nothing = &self.0 {
            self.0 = OptionsForm::Open(Box::default());
        }
        match &mut self.0 {
            OptionsForm::Open(map) => map,
            OptionsForm::Packed(_) | OptionsForm::Nothing => unreachable!("it was opened above"),
        }
    }

    /// Returns true if this option is given as exactly this truth value. Every row of a list and
    /// each start ask this, so a packed text is unpacked only if it contains the name of the
    /// option.
    pub fn is(&self, name: &str, value: bool) -> bool {
        let may_have = match &self.0 {
            OptionsForm::Packed(text) => text.contains(name),
            OptionsForm::Open(_) => true,
            OptionsForm::Nothing => false,
        };
        may_have && self.open().get(name) == Some(&Value::Bool(value))
    }
}

/// Returns the map of a text that [`GivenOptions::pack`] wrote.
fn read(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

impl From<Map<String, Value>> for GivenOptions {
    fn from(map: Map<String, Value>) -> Self {
        Self(if map.is_empty() { OptionsForm::Nothing } else { OptionsForm::Open(Box::new(map)) })
    }
}

impl PartialEq for GivenOptions {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (OptionsForm::Packed(text), OptionsForm::Packed(other)) if text == other => true,
            _ => self.open() == other.open(),
        }
    }
}

impl fmt::Debug for GivenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.open().fmt(f)
    }
}

impl Serialize for GivenOptions {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Journal and wire are JSON, so they take the text unchanged.
        if let OptionsForm::Packed(text) = &self.0
            && let Ok(raw) = serde_json::from_str::<&RawValue>(text)
        {
            return raw.serialize(to);
        }
        self.open().serialize(to)
    }
}

impl<'de> Deserialize<'de> for GivenOptions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Map::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given() -> GivenOptions {
        json!({ "name": "api", "args": ["-v", 1.5], "z": null, "a": { "b": "\u{e9}\n" } }).as_object().cloned().unwrap_or_default().into()
    }

    #[test]
    fn packed_form_equals_the_open_form() {
        let (open, mut packed) = (given(), given());
        packed.pack();
        assert!(matches!(packed.0, OptionsForm::Packed(_)));
        assert_eq!(open, packed);
        assert_eq!(format!("{open:?}"), format!("{packed:?}"));
        assert_eq!(serde_json::to_string(&open).unwrap(), serde_json::to_string(&packed).unwrap());
        assert_eq!(serde_json::to_value(&open).unwrap(), serde_json::to_value(&packed).unwrap());
        assert_eq!(serde_json::from_str::<GivenOptions>(&serde_json::to_string(&packed).unwrap()).unwrap(), open);
        assert!(packed.open().keys().eq(["name", "args", "z", "a"]), "in the order in which they were given");
        assert_eq!(packed.open()["args"][1], 1.5);
        assert!(matches!(packed.0, OptionsForm::Packed(_)), "nothing of that is kept");
        packed.pack();
        assert_eq!(packed, open);
    }

    #[test]
    fn changes_are_visible_after_packing() {
        for is_packed in [false, true] {
            let mut changed = given();
            if is_packed {
                changed.pack();
            }
            changed.open_mut().insert("name".into(), "web".into());
            assert_ne!(changed, given());
            changed.pack();
            assert_eq!(serde_json::to_value(&changed).unwrap()["name"], "web");
            changed.open_mut().clear();
            changed.pack();
            assert_eq!(serde_json::to_string(&changed).unwrap(), "{}");
        }
    }

    #[test]
    fn empty_attributes_allocate_nothing() {
        let mut nothing = GivenOptions::default();
        nothing.pack();
        assert!(nothing.open().is_empty() && nothing == GivenOptions::from(Map::new()));
        nothing.open_mut().clear();
        nothing.pack();
        assert!(matches!(nothing.0, OptionsForm::Nothing));
        assert_eq!(serde_json::to_string(&GivenOptions::default()).unwrap(), "{}");
    }

    #[test]
    fn only_booleans_match_a_truth_value() {
        let mut given: GivenOptions =
            json!({ "trace": true, "vizion": false, "text": "true" }).as_object().cloned().unwrap_or_default().into();
        for _ in ["open", "packed"] {
            assert!(given.is("trace", true) && given.is("vizion", false));
            assert!(!given.is("trace", false) && !given.is("text", true) && !given.is("none", false) && !given.is("none", true));
            given.pack();
        }
    }
}
