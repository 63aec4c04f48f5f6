//! `cargo xtask prose`: counts sentences that readers stumble over, and holds each area to its
//! budget.
//!
//! The budgets are in `xtask/prose.toml`. They may only fall: `--write` lowers a budget to today's
//! count and never raises it.

mod areas;
mod markdown;
mod patterns;
mod rust;

use crate::process::root;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// File of the budgets, below the root of the checkout.
const BUDGETS: &str = "xtask/prose.toml";

/// Sentence that matches a pattern.
struct PatternHit {
    path: String,
    line: usize,
    sentence: String,
    patterns: Vec<&'static str>,
}

/// Texts and findings of one area.
#[derive(Default)]
struct Count {
    texts: usize,
    words: usize,
    hits: Vec<PatternHit>,
}

impl Count {
    fn add(&mut self, path: &str, line: usize, text: &str) {
        self.texts += 1;
        self.words += text.split_whitespace().count();
        let found = patterns::hits(text).into_iter();
        self.hits.extend(found.map(|(sentence, patterns)| PatternHit { path: path.to_owned(), line, sentence, patterns }));
    }
}

/// Runs the check: `[--list] [--write] [<path>…]`. With paths, lists the sentences of these files
/// and folders only.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let (options, paths): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| word.starts_with("--"));
    if let Some(unknown) = options.iter().find(|option| !matches!(option.as_str(), "--list" | "--write")) {
        bail!("unknown option `{unknown}`\n\nusage: cargo xtask prose [--list] [--write] [<path>…]");
    }
    let write = options.iter().any(|option| *option == "--write");
    let counts = count()?;
    if !paths.is_empty() || options.iter().any(|option| *option == "--list") {
        let wanted =
            |stumble: &&PatternHit| paths.is_empty() || paths.iter().any(|path| stumble.path.starts_with(path.trim_end_matches('/')));
        for PatternHit { path, line, sentence, patterns } in counts.values().flat_map(|count| &count.hits).filter(wanted) {
            println!("{path}:{line}: [{}] {sentence}", patterns.join(", "));
        }
        if !write {
            return Ok(());
        }
    }
    let file = root().join(BUDGETS);
    let budgets = read(&std::fs::read_to_string(&file).with_context(|| format!("cannot read {BUDGETS}"))?)?;
    print!("{}", table(&counts, &budgets));
    if write {
        std::fs::write(&file, lowered(&counts, &budgets)).with_context(|| format!("cannot write {BUDGETS}"))?;
        return Ok(());
    }
    judge(&counts, &budgets)
}

/// Counts the sentences of every tracked file and of the commits since the last tag.
fn count() -> Result<BTreeMap<String, Count>> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for path in areas::tracked_files()? {
        for (area, texts) in areas::texts(&path)? {
            let count = counts.entry(area).or_default();
            texts.iter().for_each(|(line, text)| count.add(&path, *line, text));
        }
    }
    let commits = counts.entry("commits".into()).or_default();
    for (index, subject) in areas::commit_subjects()?.iter().enumerate() {
        commits.add("commits", index + 1, subject);
    }
    Ok(counts)
}

/// Reads the budgets: an area and the number of its sentences per line.
fn read(text: &str) -> Result<BTreeMap<String, usize>> {
    toml::from_str(text).with_context(|| format!("cannot read {BUDGETS}"))
}

/// Returns the table that people read.
fn table(counts: &BTreeMap<String, Count>, budgets: &BTreeMap<String, usize>) -> String {
    let mut table = format!("{:<26} {:>7} {:>8} {:>10} {:>7}\n", "area", "found", "budget", "per 1,000", "texts");
    for (area, count) in counts {
        let found = count.hits.len();
        let per_thousand = found as f64 * 1000.0 / count.words.max(1) as f64;
        let budget = budgets.get(area).copied().unwrap_or(0);
        let _ = writeln!(table, "{area:<26} {found:>7} {budget:>8} {per_thousand:>10.1} {:>7}", count.texts);
    }
    table
}

/// Fails if an area has more sentences than its budget allows, or fewer than its budget records.
fn judge(counts: &BTreeMap<String, Count>, budgets: &BTreeMap<String, usize>) -> Result<()> {
    let mut problems = String::new();
    let budget = |area: &str| budgets.get(area).copied().unwrap_or(0);
    for (area, count) in counts {
        if count.hits.len() > budget(area) {
            let _ = writeln!(problems, "{area}: {} sentences, and its budget is {}", count.hits.len(), budget(area));
        }
    }
    let sunk = budgets.iter().filter(|(area, budget)| counts.get(*area).map_or(0, |count| count.hits.len()) < **budget);
    for (area, budget) in sunk {
        let _ = writeln!(problems, "{area}: fewer sentences than its budget of {budget}; lower it with `cargo xtask prose --write`");
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{problems}hint: `cargo xtask prose <path>` lists the sentences; CONTRIBUTING.md explains how to rewrite them")
}

/// Returns the file of budgets with each budget lowered to today's count.
fn lowered(counts: &BTreeMap<String, Count>, budgets: &BTreeMap<String, usize>) -> String {
    let mut text = String::from("# Sentences per area that match a pattern of `cargo xtask prose`. These numbers may only fall.\n");
    for (area, budget) in budgets {
        let left = counts.get(area).map_or(0, |count| count.hits.len()).min(*budget);
        if left > 0 {
            let _ = writeln!(text, "{area:?} = {left}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(area: &str, sentences: usize) -> BTreeMap<String, Count> {
        let stumble = || PatternHit { path: "a.md".into(), line: 1, sentence: "Nobody.".into(), patterns: vec!["nobody"] };
        BTreeMap::from([(area.to_owned(), Count { texts: 1, words: 1, hits: (0..sentences).map(|_| stumble()).collect() })])
    }

    #[test]
    fn budget_may_only_fall() {
        let budgets = BTreeMap::from([("docs".to_owned(), 3)]);
        assert!(judge(&counted("docs", 3), &budgets).is_ok());
        assert!(judge(&counted("docs", 4), &budgets).is_err());
        assert!(judge(&counted("docs", 2), &budgets).is_err());
        assert!(judge(&counted("new", 1), &budgets).is_err());
        assert_eq!(read(&lowered(&counted("docs", 2), &budgets)).unwrap(), BTreeMap::from([("docs".to_owned(), 2)]));
        assert_eq!(read(&lowered(&counted("docs", 9), &budgets)).unwrap(), budgets);
        assert_eq!(read(&lowered(&counted("docs", 0), &budgets)).unwrap(), BTreeMap::new());
    }
}
