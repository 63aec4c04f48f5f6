//! The JSON schema of ecosystem files, for editors.

use serde_json::{Map, Value, json};

use super::{Accept, KEYS, Key, KeyState, camel_case};

/// Returns a JSON schema (draft 2020-12) of ecosystem files. It is generated from the table, so it
/// always agrees with the checks.
pub fn schema() -> Value {
    let mut properties = Map::new();
    for key in KEYS {
        let rule = rule(key);
        for name in key.names() {
            properties.insert(name.to_owned(), rule.clone());
            properties.insert(camel_case(name), rule.clone());
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ostler ecosystem file",
        "anyOf": [
            { "$ref": "#/$defs/app" },
            { "$ref": "#/$defs/apps" },
            { "type": "object", "properties": file_properties(), "anyOf": [{ "required": ["apps"] }, { "required": ["pm2"] }, { "required": ["jobs"] }] },
        ],
        "$defs": {
            "apps": { "type": "array", "items": { "$ref": "#/$defs/app" } },
            "environment": { "type": "object", "additionalProperties": true },
            "app": {
                "type": "object",
                "properties": properties,
                "patternProperties": { "^env_": { "$ref": "#/$defs/environment" } },
                "additionalProperties": false,
            },
        },
    })
}

fn file_properties() -> Value {
    let apps = json!({ "anyOf": [{ "$ref": "#/$defs/apps" }, { "$ref": "#/$defs/app" }] });
    json!({
        "apps": apps,
        "pm2": apps,
        "jobs": { "type": ["array", "object"], "items": { "type": "object" } },
        "deploy": { "type": "object" },
        "static": { "type": "array", "items": { "type": "object" } },
    })
}

fn rule(key: &Key) -> Value {
    let mut forms: Vec<Value> = key.accepts.iter().flat_map(forms).collect();
    forms.push(json!({ "type": "null" }));
    let mut rule = json!({ "description": format!("{} Default: {}.{}", key.doc, key.default, note(key)) });
    rule["anyOf"] = Value::Array(forms);
    rule
}

fn note(key: &Key) -> &'static str {
    match key.state {
        KeyState::Works => "",
        KeyState::NoEffect(_) | KeyState::Needless(_) => " Accepted, no effect.",
    }
}

fn forms(accept: &Accept) -> Vec<Value> {
    let text_list = json!({ "type": "array", "items": { "type": ["string", "number", "boolean"] } });
    match accept {
        Accept::Flag => vec![json!({ "type": "boolean" })],
        Accept::Text => vec![json!({ "type": "string" })],
        Accept::OneOf(words) => vec![json!({ "enum": words })],
        Accept::Number(min, max) => vec![
            json!({ "type": "integer", "minimum": min, "maximum": max }),
            json!({ "type": "string", "pattern": "^\\s*[-+]?\\d+\\s*$" }),
        ],
        Accept::Millis => vec![
            json!({ "type": "number", "minimum": 0 }),
            json!({ "type": "string", "pattern": "^\\s*(\\d+(\\.\\d+)?\\s*([mM][sS]?|[mM][iI][nN]|[sS]([eE][cC])?|[hHdD])?\\s*)+$" }),
        ],
        Accept::Bytes => vec![
            json!({ "type": "number", "minimum": 0 }),
            json!({ "type": "string", "pattern": "^\\s*\\d+(\\.\\d+)?\\s*([kKmMgGtT]?([iI]?[bB])?|%)\\s*$" }),
        ],
        Accept::Command | Accept::Words | Accept::Texts => vec![json!({ "type": "string" }), text_list],
        Accept::Numbers => {
            vec![json!({ "type": ["integer", "string"] }), json!({ "type": "array", "items": { "type": ["integer", "string"] } })]
        }
        Accept::Table => vec![json!({ "type": "object" })],
        Accept::Tables => vec![json!({ "type": "array", "items": { "type": "object" } })],
        Accept::Mixed => vec![json!({ "type": "array", "items": { "type": ["integer", "string", "object"] } })],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_knows_every_name() {
        let schema = schema();
        let properties = &schema["$defs"]["app"]["properties"];
        for key in KEYS {
            for name in key.names() {
                assert!(properties[name]["anyOf"].is_array(), "{name}");
                assert!(properties[camel_case(name)]["description"].is_string(), "{name}");
            }
        }
    }
}
