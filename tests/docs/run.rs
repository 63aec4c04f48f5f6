//! The commands of the pages.

use std::time::Instant;

use ostler_testkit::{Page, on_ci, pages, program};

use crate::session::{BlockUse, run, turn};

/// Returns false for generated pages, for translations with the same commands (see `translation`),
/// and for plans for ostler's developers.
fn is_ours(page: &Page) -> bool {
    let others = ["docs/reference/", "docs/adr/", "docs/zh/", "README.zh-CN.md", "CONTRIBUTING.md", "docs/pm2-parity.md"];
    !others.iter().any(|other| page.path.starts_with(other)) && !is_example(page)
}

/// Returns true for the README.md of an example, which tests/real_apps/examples.rs follows.
fn is_example(page: &Page) -> bool {
    page.path.starts_with("examples/") && page.text.contains("\n## Install\n")
}

/// Each block of commands either runs or states why not.
#[test]
fn every_command_block_runs_or_gives_a_reason() {
    let mut silent = Vec::new();
    for page in pages().iter().filter(|page| is_ours(page)) {
        let runs = page.test().unwrap().is_some();
        for block in page.blocks() {
            match turn(&block) {
                Err(error) => silent.push(format!("{}: {error}", page.path)),
                Ok(BlockUse::Commands) if !runs && page.why_not_run().is_none() => silent.push(format!("{}:{}", page.path, block.line)),
                Ok(_) => {}
            }
        }
        assert!(page.why_not_run() != Some(""), "{}: `commands not run` needs a reason", page.path);
    }
    assert!(
        silent.is_empty(),
        "these blocks are neither run nor say why not (<!-- test: … --> in the page, <!-- not run: why --> above the block, \
         <!-- commands not run: why --> in the page):\n{}",
        silent.join("\n")
    );
}

fn run_those(of: impl Fn(&str) -> bool) {
    for page in pages().iter().filter(|page| is_ours(page) && of(&page.path)) {
        let Some(test) = page.test().unwrap() else { continue };
        if let Some(absent) = test.needs.iter().find(|name| program(name).is_none()) {
            assert!(!on_ci(), "{} needs {absent}, and on CI it has to be there", page.path);
            ostler_testkit::report_skip(format_args!("{}: {absent} is not installed", page.path));
            continue;
        }
        let begin = Instant::now();
        run(page, &test);
        eprintln!("{}: {:.1} s", page.path, begin.elapsed().as_secs_f64());
    }
}

#[test]
fn commands_of_the_other_pages_run() {
    run_those(|path| !path.starts_with("docs/tutorials/") && !path.starts_with("docs/how-to/"));
}

#[test]
fn commands_of_the_how_tos_run() {
    run_those(|path| path.starts_with("docs/how-to/"));
}

#[test]
fn commands_of_the_tutorials_run() {
    run_those(|path| path.starts_with("docs/tutorials/"));
}
