//! Tasks of users: each of the pages that users open first must contain the command or the line of
//! configuration that solves them. `tasks.json` lists the tasks.

use std::collections::BTreeSet;

use ostler_testkit::{Page, checkout, pages};
use serde_json::Value;

/// Pages that must solve at least [`FEWEST`] tasks each.
const PAGES: [&str; 10] = [
    "README.md",
    "docs/boot.md",
    "docs/cluster.md",
    "docs/containers.md",
    "docs/health.md",
    "docs/install.md",
    "docs/logs.md",
    "docs/migrating-from-pm2.md",
    "docs/reload.md",
    "docs/tutorials/first-app.md",
];

const FEWEST: usize = 3;

/// A task of a user, in the user's words.
struct Task {
    page: String,
    task: String,
    answers: Vec<String>,
}

fn tasks() -> Vec<Task> {
    let text = std::fs::read_to_string(checkout().join("tests/docs/tasks.json")).unwrap();
    let listed: Value = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let answers = |value: &Value| value.as_array().map_or_else(|| vec![text(value)], |several| several.iter().map(text).collect());
    let tasks = listed["tasks"].as_array().unwrap();
    tasks.iter().map(|task| Task { page: text(&task["page"]), task: text(&task["task"]), answers: answers(&task["answer"]) }).collect()
}

/// Returns a text with one space between words.
fn normalized(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the blocks of code and the inline code of a page, each normalized.
fn code(page: &Page) -> Vec<String> {
    let blocks = page.blocks();
    let in_blocks: BTreeSet<usize> = blocks.iter().flat_map(|block| block.line..block.line + block.code.lines().count()).collect();
    let prose: Vec<&str> = page
        .text
        .lines()
        .enumerate()
        .map(|(number, line)| if in_blocks.contains(&(number + 1)) || line.trim_start().starts_with("```") { "" } else { line })
        .collect();
    let prose = prose.join("\n");
    // Inline code may continue on the next line, but not in the next paragraph.
    let inline = prose.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    blocks.iter().map(|block| block.code.as_str()).chain(inline).map(normalized).collect()
}

#[test]
fn pages_contain_the_answers_to_their_tasks() {
    let pages = pages();
    let mut missing = Vec::new();
    for task in tasks() {
        let Some(page) = pages.iter().find(|page| page.path == task.page) else {
            missing.push(format!("{}: there is no such page", task.page));
            continue;
        };
        assert!(!task.answers.is_empty(), "{}: no answer to: {}", task.page, task.task);
        let code = code(page);
        for answer in &task.answers {
            let wanted = normalized(answer);
            if wanted.is_empty() || !code.iter().any(|code| code.contains(&wanted)) {
                missing.push(format!("{}: no `{answer}` for the task: {}", task.page, task.task));
            }
        }
    }
    assert!(missing.is_empty(), "the pages do not solve these tasks of tests/docs/tasks.json:\n{}", missing.join("\n"));
}

#[test]
fn each_page_has_enough_tasks() {
    let tasks = tasks();
    for page in PAGES {
        let count = tasks.iter().filter(|task| task.page == page).count();
        assert!(count >= FEWEST, "{page}: {count} tasks in tests/docs/tasks.json, at least {FEWEST} are needed");
    }
}
