//! Tables of `docs/trusted-core.md`: the files that must be right for apps to survive, their size,
//! and every file with `unsafe`.

mod code;
mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::layers::rust_files;
use code::{lines, unsafes};

/// Folder of the crate with all interfaces to the kernel.
const SYS: &str = "crates/sys/src";

/// Parts of the trusted core by name, in English and Chinese, with their folders and files. The
/// part of `sys` is computed: every file of it that these parts use.
const PARTS: &[(&str, &str, &[&str])] = &[
    (
        "keeper",
        "keeper",
        &[
            "crates/keeper/src/lib.rs",
            "crates/keeper/src/keeper.rs",
            "crates/keeper/src/run",
            "crates/keeper/src/children",
            "crates/keeper/src/daemon",
            "crates/keeper/src/launch.rs",
            "crates/keeper/src/home.rs",
            "crates/keeper/src/cgroup.rs",
            "crates/keeper/src/environment.rs",
            "crates/keeper/src/title.rs",
        ],
    ),
    ("standby", "备用进程", &["crates/keeper/src/anchor"]),
    ("state and upgrade of the keeper", "keeper 的状态与升级", &["crates/keeper/src/state"]),
    ("messages and their codec", "消息及其编解码", &["crates/keeper/src/link"]),
    ("journal and state files", "状态日志与状态文件", &["crates/daemon/src/state/store"]),
    ("daemon's end of the link", "守护进程一端的连接", &["crates/daemon/src/platform/keeper_connection.rs"]),
];

/// The keeper that the simulation plays. No shipped program contains it.
const NOT_SHIPPED: &[&str] = &["crates/keeper/src/fake_keeper.rs"];

/// Marks around the generated part of a page.
const BEGIN: &str = "<!-- generated: trusted core -->";
const END: &str = "<!-- end of generated -->";

/// Words of the tables in one language.
struct Words {
    part: &'static str,
    file: &'static str,
    files: &'static str,
    lines: &'static str,
    /// Name of the part of `sys`.
    sys: &'static str,
    sum: &'static str,
    all: &'static str,
    rest: &'static str,
    is_chinese: bool,
}

const ENGLISH: Words = Words {
    part: "part",
    file: "file",
    files: "files",
    lines: "lines of code",
    sys: "interfaces to the kernel that these parts use",
    sum: "**trusted core**",
    all: "all crates that ship",
    rest: "Other files with `unsafe`, outside of the trusted core:",
    is_chinese: false,
};

const CHINESE: Words = Words {
    part: "部分",
    file: "文件",
    files: "文件数",
    lines: "代码行数",
    sys: "以上部分用到的内核接口",
    sum: "**可信核心**",
    all: "全部随程序发布的 crate",
    rest: "可信核心之外含有 `unsafe` 的文件：",
    is_chinese: true,
};

/// Numbers of a file or of several.
#[derive(Clone, Copy, Default)]
struct Size {
    files: usize,
    lines: usize,
    unsafes: usize,
}

impl Size {
    fn of(code: &str) -> Self {
        Self { files: 1, lines: lines(code), unsafes: unsafes(code) }
    }

    fn sum<'a>(sizes: impl IntoIterator<Item = &'a Size>) -> Self {
        sizes.into_iter().fold(Self::default(), |sum, size| Self {
            files: sum.files + size.files,
            lines: sum.lines + size.lines,
            unsafes: sum.unsafes + size.unsafes,
        })
    }
}

/// Returns both pages with current tables, each with its path below `docs`.
pub(crate) fn pages(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let sources = sources(root)?;
    let mut pages = Vec::new();
    for (name, words) in [("trusted-core.md", &ENGLISH), ("zh/trusted-core.md", &CHINESE)] {
        let path = root.join("docs").join(name);
        let page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        pages.push((name, filled(&page, &tables(&sources, words)?).with_context(|| format!("docs/{name}"))?));
    }
    Ok(pages)
}

/// Returns a page without its generated part, whose changes need no translation.
pub(crate) fn without_tables(page: &str) -> String {
    match filled(page, "") {
        Ok(page) => page,
        Err(_) => page.to_owned(),
    }
}

fn filled(page: &str, tables: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("it lacks the line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("it lacks the line {END}"))?;
    Ok(format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))
}

/// Reads the code of all crates that ship, by path, without comments and tests.
fn sources(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut sources = BTreeMap::new();
    for folder in std::fs::read_dir(root.join("crates"))? {
        let folder = folder?;
        if folder.file_name() == "testkit" {
            continue;
        }
        for path in rust_files(&folder.path().join("src"))? {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let is_test = name.ends_with("/tests.rs") || name.contains("/tests/") || name.contains("/simulation/");
            if !is_test && !NOT_SHIPPED.contains(&name.as_str()) {
                let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
                sources.insert(name, code::only(&text));
            }
        }
    }
    Ok(sources)
}

fn tables(sources: &BTreeMap<String, String>, words: &Words) -> Result<String> {
    let mut parts: Vec<(&str, Vec<&str>)> = Vec::new();
    for (english, chinese, places) in PARTS {
        let mut files = Vec::new();
        for place in *places {
            let found: Vec<&str> =
                sources.keys().map(String::as_str).filter(|file| file == place || file.starts_with(&format!("{place}/"))).collect();
            ensure!(!found.is_empty(), "{place} of xtask/src/trusted_core/mod.rs does not exist");
            files.extend(found);
        }
        parts.push((if words.is_chinese { chinese } else { english }, files));
    }
    let listed: BTreeSet<&str> = parts.iter().flat_map(|(_, files)| files.iter().copied()).collect();
    let forgotten = sources.keys().find(|file| file.starts_with("crates/keeper/src/") && !listed.contains(file.as_str()));
    ensure!(forgotten.is_none(), "{} belongs to no part of xtask/src/trusted_core/mod.rs", forgotten.map_or("", String::as_str));
    let used = reach::of_sys(sources, &listed);
    parts.push((words.sys, used));

    let sizes: BTreeMap<&str, Size> = sources.iter().map(|(file, code)| (file.as_str(), Size::of(code))).collect();
    let size = |files: &[&str]| Size::sum(files.iter().filter_map(|file| sizes.get(file)));
    let mut text = format!("| {} | {} | {} | `unsafe` |\n|---|--:|--:|--:|\n", words.part, words.files, words.lines);
    let mut row = |name: &str, Size { files, lines, unsafes }: Size| writeln!(text, "| {name} | {files} | {lines} | {unsafes} |");
    for (name, files) in &parts {
        row(name, size(files))?;
    }
    row(words.sum, Size::sum(&parts.iter().map(|(_, files)| size(files)).collect::<Vec<_>>()))?;
    row(words.all, Size::sum(sizes.values()))?;

    let mut rows = |title: String, files: &[&str]| -> Result<()> {
        writeln!(text, "\n{title}\n\n| {} | {} | `unsafe` |\n|---|--:|--:|", words.file, words.lines)?;
        for file in files {
            let Size { lines, unsafes, .. } = size(&[file]);
            writeln!(text, "| `{file}` | {lines} | {unsafes} |")?;
        }
        Ok(())
    };
    for (name, files) in &parts {
        rows(format!("### {}", capitalized(name)), files)?;
    }
    let core: BTreeSet<&str> = parts.iter().flat_map(|(_, files)| files.iter().copied()).collect();
    let others: Vec<&str> = sizes.iter().filter(|(file, size)| size.unsafes > 0 && !core.contains(**file)).map(|(file, _)| *file).collect();
    rows(words.rest.to_owned(), &others)?;
    Ok(text)
}

fn capitalized(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_show_the_current_sizes() {
        let root = crate::process::root();
        for (name, page) in pages(&root).unwrap() {
            let written = std::fs::read_to_string(root.join("docs").join(name)).unwrap();
            assert!(page == written, "docs/{name} is out of date: run `cargo xtask generate`");
        }
    }

    #[test]
    fn only_the_generated_part_is_replaced() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(filled(&page, "new\n").unwrap(), format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(without_tables(&page), without_tables(&page.replace("old", "other")));
        assert_eq!(without_tables("no marks"), "no marks");
        assert!(filled("no marks", "").is_err());
    }
}
