//! The commands of one page, run as one shell session in a fresh home.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ostler_testkit::{CodeBlock, Home, Page, PageTest, Subject, cache_dir, checkout, free_ports, program};

/// Functions added to the shell of a page. A script types faster than a person, so a server may not
/// listen yet when the next command runs.
const PRELUDE: &str = r#"
curl() {
  for _ in $(seq 400); do
    command curl -sS --max-time 20 "$@" 2>"$SESSION/curl" && return
    code=$?
    [ $code = 7 ] || break
    sleep 0.05
  done
  cat "$SESSION/curl" >&2
  return $code
}
trap 'echo "failed (code $?) in the block at line $BLOCK" >&2' ERR
exec </dev/null
"#;

/// Repeats a block of commands until its output matches each line of a file of patterns.
const AGAIN: &str = r#"
again() {
  local until=$((SECONDS + 25))
  while [ $SECONDS -lt $until ]; do
    "block_$1" >"$SESSION/out.$1" 2>&1 || true
    missing=
    while IFS= read -r pattern; do grep -qE -- "$pattern" "$SESSION/out.$1" || missing=1; done <"$SESSION/patterns.$1"
    [ -z "$missing" ] && return
    sleep 0.05
  done
}
"#;

/// Use of a block in the session.
#[derive(Debug, PartialEq, Eq)]
pub enum BlockUse {
    /// Written to a file with this name.
    File(String),
    /// Run as commands.
    Commands,
    /// Compared with the output of the commands before it.
    Output,
    /// Ignored: the page states a reason, or the block is nothing to run.
    Nothing,
}

/// Returns how the session uses a block. `Err`: the block needs a reason for not being run.
pub fn turn(block: &CodeBlock) -> Result<BlockUse, String> {
    if let Some(name) = block.mark("file:") {
        return Ok(BlockUse::File(name.to_owned()));
    }
    if block.mark("output").is_some() {
        return Ok(BlockUse::Output);
    }
    if !block.is_commands() {
        return Ok(BlockUse::Nothing);
    }
    if let Some(why) = block.mark("not run:") {
        return if why.is_empty() { Err(format!("line {}: `not run` needs a reason", block.line)) } else { Ok(BlockUse::Nothing) };
    }
    let absent = block.mark("run where there is:").is_some_and(|names| names.split(',').any(|name| program(name.trim()).is_none()));
    Ok(if absent { BlockUse::Nothing } else { BlockUse::Commands })
}

/// Runs all of a page. Panics with the complete output if a command fails or an expected output is
/// missing.
pub fn run(page: &Page, test: &PageTest) {
    let mut home = Home::new(Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into()));
    home.set_dir(home.root().join("user/.ostler"));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ostler"), home.root().join("bin/ostler")).unwrap();
    prepare(&home, test);
    let ports = free(&test.ports);
    let there = |text: &str| ports.iter().fold(text.to_owned(), |text, (port, free)| text.replace(*port, free));
    let session = home.root().join("session");
    fs::create_dir(&session).unwrap();
    let mut script = format!("{PRELUDE}{AGAIN}");
    let blocks = page.blocks();
    for (number, block) in blocks.iter().enumerate() {
        let _ = writeln!(script, "BLOCK={}", block.line);
        match turn(block).unwrap() {
            BlockUse::File(name) => {
                fs::write(session.join(number.to_string()), there(&block.code)).unwrap();
                let _ = writeln!(script, "mkdir -p \"$(dirname '{name}')\"; cp \"$SESSION/{number}\" '{name}'");
            }
            BlockUse::Commands => {
                let typed: Vec<String> = block.typed().into_iter().map(|(_, line)| there(&line)).collect();
                let typed = typed.join("\n");
                if block.mark("again").is_some() {
                    let shown = blocks.get(number + 1).map(|next| there(&next.code)).unwrap_or_default();
                    fs::write(session.join(format!("patterns.{number}")), shown.lines().map(pattern).collect::<String>()).unwrap();
                    let _ = writeln!(script, "block_{number}() {{\n{typed}\n}}\nagain {number}");
                    continue;
                }
                // Braces and no pipe, so that the blocks of a page share variables and folders.
                let _ = writeln!(
                    script,
                    "echo \"$SECONDS s: block at line {}\"\n{{\n{}\n}} >\"$SESSION/out.{number}\" 2>&1",
                    block.line, typed
                );
            }
            BlockUse::Output | BlockUse::Nothing => {}
        }
    }
    fs::write(session.join("script"), &script).unwrap();
    let path = format!("{}:{}", home.root().join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let command = home.cmd("--version").after("source \"$SESSION/script\"");
    let command = test.without.iter().fold(command.without("OSTLER_HOME"), |command, name| command.without(name));
    let output = command.env("SESSION", &session).env("PATH", path).run();
    assert!(output.code == 0, "{} cannot be run as it stands\n{output}\n{}\n{}", page.path, written(&session), home.report());
    compare(page, &blocks, &session, &there);
}

/// Returns a free port for each port that the page names. Adjacent ports stay adjacent, because a
/// page may compute one from the other.
fn free(ports: &[String]) -> Vec<(&str, String)> {
    let numbers: Vec<u16> = ports.iter().map(|port| port.parse().unwrap()).collect();
    let (Some(first), Some(last)) = (numbers.iter().min(), numbers.iter().max()) else { return Vec::new() };
    let span = last - first + 1;
    assert!(span <= 64, "ports that are so far from each other: {ports:?}");
    let base = free_ports(span);
    ports.iter().zip(numbers.iter()).map(|(port, number)| (port.as_str(), (base + (number - first)).to_string())).collect()
}

fn prepare(home: &Home, test: &PageTest) {
    for name in &test.files {
        let from = checkout().join("tests/fixtures/docs").join(name);
        let status = std::process::Command::new("cp").arg("-r").args([&from, &home.work()]).status().unwrap();
        assert!(status.success(), "no {}", from.display());
    }
    for name in &test.links {
        let to = cache_dir().expect("a cache of the tests").join(name);
        let link = home.work().join(Path::new(name).file_name().expect("a link has a name"));
        std::os::unix::fs::symlink(to, link).unwrap();
    }
}

/// Returns the output of all blocks so far, in order.
fn written(session: &Path) -> String {
    let mut outputs: Vec<(usize, String)> = Vec::new();
    for entry in fs::read_dir(session).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(number) = name.strip_prefix("out.").and_then(|number| number.parse().ok()) {
            outputs.push((number, String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()));
        }
    }
    outputs.sort();
    outputs.into_iter().map(|(_, text)| text).collect()
}

/// Checks that the output before a block contains each line that the block shows.
fn compare(page: &Page, blocks: &[CodeBlock], session: &Path, there: &dyn Fn(&str) -> String) {
    let mut before = String::new();
    for (number, block) in blocks.iter().enumerate() {
        match turn(block).unwrap() {
            BlockUse::Commands => {
                before = fs::read(session.join(format!("out.{number}"))).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap();
                let shown = block.code.lines().filter(|line| block.language == "console" && !line.starts_with("$ "));
                shown.for_each(|line| assert!(is_in(&there(line), &before), "{}: not written: {line}\n{before}", page.path));
            }
            BlockUse::Output => {
                for line in block.code.lines() {
                    assert!(is_in(&there(line), &before), "{}:{}: not written: {line}\n--- written:\n{before}", page.path, block.line);
                }
            }
            BlockUse::File(_) | BlockUse::Nothing => {}
        }
    }
}

/// Returns the line as a pattern of `grep -E`, including the end of the line.
fn pattern(line: &str) -> String {
    // A backslash before another character may have a meaning of its own: \` is the start of the text.
    let escaped = |c: char| if r".[]{}()\*+?^$|".contains(c) { format!("\\{c}") } else { c.to_string() };
    let parts = line.split('…').map(|part| {
        let words: Vec<String> = part.split_whitespace().map(|word| word.chars().map(escaped).collect()).collect();
        words.join("[[:space:]]+")
    });
    parts.collect::<Vec<_>>().join(".*") + "\n"
}

/// Returns true if the text contains the line. `…` matches anything within a line; runs of blanks
/// count as one.
fn is_in(line: &str, text: &str) -> bool {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted = squeezed(line);
    text.lines().map(squeezed).any(|line| {
        let mut rest = line.as_str();
        wanted.split('…').all(|part| match rest.find(part.trim()) {
            Some(at) => {
                rest = &rest[at + part.trim().len()..];
                true
            }
            None => false,
        })
    })
}

#[test]
fn patterns_of_grep_escape_only_special_characters() {
    assert_eq!(pattern("  it's `x` … (1.5 <a>)"), "it's[[:space:]]+`x`.*\\(1\\.5[[:space:]]+<a>\\)\n");
}

#[test]
fn ellipsis_matches_any_output() {
    let text = "[ostler] Applying action reload\n│ 0  │ api │ online │ 41.2mb │\n";
    assert!(is_in("│ 0 │ api │ online │ … │", text));
    assert!(is_in("", text));
    assert!(!is_in("│ 0 │ api │ stopped │ … │", text));
    assert!(!is_in("mb … api", text));
}
