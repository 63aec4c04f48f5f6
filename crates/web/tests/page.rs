//! Tests of the page's modules as text: texts in both languages, unique names in the joined script,
//! and no text of an app as markup.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;

/// Returns the modules in order: name and text.
fn modules() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let order = std::fs::read_to_string(page.join("order.txt")).unwrap();
    order.lines().map(|name| (name.to_owned(), std::fs::read_to_string(page.join(name)).unwrap())).collect()
}

/// Returns the text between `begin` and the next `"`, for each occurrence.
fn quoted<'a>(text: &'a str, begin: &str) -> impl Iterator<Item = &'a str> {
    text.match_indices(begin).filter_map(move |(at, _)| text[at + begin.len()..].split('"').next())
}

/// Returns the texts of the page: key, English, Chinese.
fn words() -> Vec<(String, Vec<String>)> {
    let (_, text) = modules().into_iter().find(|(name, _)| name == "i18n.js").unwrap();
    let table = text.split_once("const WORDS = {").unwrap().1.split_once("\n};").unwrap().0.to_owned();
    let entry = |line: &str| {
        let (key, values) = line.trim().split_once(": [")?;
        let values: Vec<String> =
            serde_json::from_str(&format!("[{}", values.trim_end_matches(','))).unwrap_or_else(|error| panic!("{line}: {error}"));
        Some((key.to_owned(), values))
    };
    table.lines().filter_map(entry).collect()
}

#[test]
fn each_text_is_translated_and_used() {
    let (modules, words) = (modules(), words());
    let keys: BTreeSet<&str> = words.iter().map(|(key, _)| key.as_str()).collect();
    assert!(keys.len() == words.len() && keys.len() > 100, "{}", words.len());
    let parts = |text: &str| quoted(&text.replace('}', "\""), "{").map(str::to_owned).collect::<BTreeSet<_>>();
    let mut unused = Vec::new();
    for (key, values) in &words {
        assert!(values.len() == 2 && values.iter().all(|value| !value.is_empty()), "{key}");
        assert_eq!(parts(&values[0]), parts(&values[1]), "{key}: the same parts in both languages");
        let used = modules.iter().any(|(name, text)| {
            let text = if name == "i18n.js" { text.rsplit("\n};").next().unwrap_or_default() } else { text };
            // Verbs, roles, states and columns are keys by their own names.
            text.contains(&format!("\"{key}\"")) || text.contains(&format!("{key}: \""))
        });
        let by_name = [
            "healthy",
            "unhealthy",
            "unready",
            "starting",
            "launching",
            "stopping",
            "errored",
            "online",
            "stopped",
            "info",
            "warning",
            "critical",
        ];
        unused.extend((!used && !by_name.contains(&key.as_str())).then_some(key));
    }
    assert!(unused.is_empty(), "used nowhere: {unused:?}");
    for (name, text) in &modules {
        for key in quoted(text, "t(\"") {
            assert!(
                keys.contains(key) || !text.contains(&format!(" t(\"{key}")) && !text.contains(&format!("{{t(\"{key}")),
                "{name}: {key} has no words"
            );
        }
    }
}

#[test]
fn top_level_names_are_unique() {
    let mut seen = BTreeSet::new();
    for (module, text) in modules() {
        for line in text.lines() {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let line = line.strip_prefix("async ").unwrap_or(line);
            let name = ["function ", "const ", "let ", "class "].iter().find_map(|word| line.strip_prefix(word));
            let Some(name) = name.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()) else {
                continue;
            };
            assert!(name.is_empty() || seen.insert(name.to_owned()), "{module}: {name} is at the top of another module, too");
        }
    }
}

/// Everything that apps write goes through text nodes.
#[test]
fn page_never_renders_markup_from_text() {
    for (name, text) in modules() {
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "dangerouslySetInnerHTML",
            "eval(",
            "new Function",
            "style=\"",
        ] {
            assert!(!text.contains(word), "{name}: {word}");
        }
    }
}
