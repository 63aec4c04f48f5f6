//! Links within the documentation, and the list of its pages.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use ostler_testkit::{checkout, pages};

/// Returns a path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn links_point_to_existing_files_and_headings() {
    let pages = pages();
    let anchors: BTreeMap<&str, Vec<String>> = pages.iter().map(|page| (page.path.as_str(), page.anchors())).collect();
    let mut dead = Vec::new();
    for page in &pages {
        for (line, target) in page.links() {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let here = Path::new(&page.path);
            let file = if file.is_empty() { here.to_path_buf() } else { plain(&here.parent().unwrap().join(file)) };
            let known = anchor.is_none_or(|anchor| {
                let anchors = anchors.get(file.to_str().unwrap());
                anchors.is_none_or(|anchors| anchors.iter().any(|known| known == anchor))
            });
            if !checkout().join(&file).exists() || !known {
                dead.push(format!("{}:{line}: {target}", page.path));
            }
        }
    }
    assert!(dead.is_empty(), "these links lead nowhere:\n{}", dead.join("\n"));
}

/// `site/pages.json` must list each page once: the site does not show a page that is missing there.
#[test]
fn site_lists_every_page_once() {
    let text = std::fs::read_to_string(checkout().join("site/pages.json")).unwrap();
    let places: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut listed: Vec<String> = Vec::new();
    for part in places["parts"].as_array().unwrap() {
        for group in part["groups"].as_array().unwrap() {
            listed.extend(group["pages"].as_array().unwrap().iter().map(|page| format!("docs/{}.md", page.as_str().unwrap())));
        }
    }
    listed.push("docs/index.md".into());
    listed.sort();
    let written: Vec<String> =
        pages().into_iter().map(|page| page.path).filter(|path| path.starts_with("docs/") && !path.starts_with("docs/zh/")).collect();
    let missing: Vec<_> = written.iter().filter(|path| !listed.contains(path)).collect();
    let gone: Vec<_> = listed.iter().filter(|path| !written.contains(path)).collect();
    assert!(missing.is_empty() && gone.is_empty(), "site/pages.json: not in it: {missing:?}; no such page: {gone:?}");
    let mut once = listed.clone();
    once.dedup();
    assert_eq!(once.len(), listed.len(), "a page is in site/pages.json twice");
}
