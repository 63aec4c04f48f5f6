//! The Chinese pages must have the same code and the same link targets as the English pages.
//! `docs/zh/untranslated.txt`, which `cargo xtask generate` maintains, lists pages without a
//! translation and outdated translations.

use ostler_testkit::{CodeBlock, Page, pages};

/// Returns the English page of a Chinese page.
fn source(path: &str) -> Option<String> {
    if path == "README.zh-CN.md" {
        return Some("README.md".into());
    }
    path.strip_prefix("docs/zh/").map(|rest| format!("docs/{rest}"))
}

fn pairs() -> Vec<(Page, Page)> {
    let pages = pages();
    let english =
        |path: &str| pages.iter().find(|page| page.path == path).unwrap_or_else(|| panic!("{path} is translated and not there")).clone();
    pages.iter().filter_map(|page| Some((english(&source(&page.path)?), page.clone()))).collect()
}

/// Returns the blocks that both pages must share: all except drawings and outputs, whose words may
/// be translated.
fn code(page: &Page) -> Vec<CodeBlock> {
    page.blocks().into_iter().filter(|block| block.language != "text").collect()
}

#[test]
fn translations_have_the_same_code() {
    let pairs = pairs();
    assert!(pairs.len() > 5, "{} translations", pairs.len());
    for (english, chinese) in pairs {
        // A translation that is listed as outdated carries its own notice and is not compared.
        if is_older(&chinese.path) {
            continue;
        }
        let (ours, theirs) = (code(&english), code(&chinese));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(
                (&ours.language, ours.bare()),
                (&theirs.language, theirs.bare()),
                "{}:{} and {}:{} are not the same code",
                english.path,
                ours.line,
                chinese.path,
                theirs.line
            );
        }
        assert_eq!(ours.len(), theirs.len(), "{} and {} have not as many blocks of code", english.path, chinese.path);
    }
}

fn is_older(path: &str) -> bool {
    let listed = std::fs::read_to_string(ostler_testkit::checkout().join("docs/zh/untranslated.txt")).unwrap_or_default();
    let name = path.strip_prefix("docs/zh/").unwrap_or("README.md");
    listed.lines().any(|line| line.strip_prefix("older ") == Some(name))
}
