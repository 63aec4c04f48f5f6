//! Commands of the documentation, parsed by the program's own parser: an option that does not exist
//! (any more) fails here.

use std::ffi::OsString;

use ostler_testkit::pages;

use crate::cli;

/// Programs that run another one, and the number of their own words.
const BEFORE: [&str; 7] = ["sudo", "exec", "time", "nohup", "env", "command", "!"];

/// Returns the calls of ostler in a shell line, each as the words after the program's name.
///
/// This is not a whole shell. It handles quotes, comments, `;`, `|`, `&`, redirections, brackets of
/// a subshell, and leading variables, which is all that the documentation uses.
fn calls(line: &str) -> Vec<Vec<String>> {
    commands(line).into_iter().filter_map(|words| ostler_arguments(&words)).collect()
}

fn ostler_arguments(words: &[String]) -> Option<Vec<String>> {
    let is_ours = |word: &String| matches!(word.as_str(), "ostler" | "pm2" | "target/release/ostler");
    let is_in_front = |word: &String| word.contains('=') || word.starts_with('-') || BEFORE.contains(&word.as_str());
    let at = words.iter().position(|word| !is_in_front(word))?;
    // `docker exec c ostler list`, `ssh host ostler list`, `sudo -u deploy ostler list`,
    // `watch -n 5 ostler list`.
    const CARRIERS: [&str; 6] = ["docker", "podman", "kubectl", "ssh", "watch", "timeout"];
    let carried = words[..at].iter().any(|word| word == "sudo") || CARRIERS.contains(&words[at].as_str());
    let at = if is_ours(&words[at]) { at } else { carried.then(|| words.iter().position(is_ours)).flatten()? };
    Some(words[at + 1..].to_vec())
}

fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut is_target = false;
    let mut chars = line.chars().peekable();
    let end = |word: &mut Option<String>, is_target: &mut bool, commands: &mut Vec<Vec<String>>| {
        if let Some(word) = word.take()
            && !std::mem::take(is_target)
        {
            commands.last_mut().expect("begins with one").push(word);
        }
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => end(&mut word, &mut is_target, &mut commands),
            (None, ';' | '|' | '&' | '(' | ')' | '`') => {
                end(&mut word, &mut is_target, &mut commands);
                commands.push(Vec::new());
            }
            (None, '>' | '<') => {
                if word.as_ref().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit())) {
                    word = None;
                }
                end(&mut word, &mut is_target, &mut commands);
                // `2>&1` names a descriptor, `<name>` is a placeholder.
                if chars.next_if_eq(&'&').is_some() {
                    chars.next();
                } else {
                    is_target = true;
                }
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    end(&mut word, &mut is_target, &mut commands);
    commands
}

#[test]
fn calls_finds_ostler_commands_in_shell_lines() {
    let cases: [(&str, &[&[&str]]); 8] = [
        ("ostler list # all of them", &[&["list"]]),
        ("cd x && NODE_ENV=production ostler start 'a b.js' -- -x > out 2>&1", &[&["start", "a b.js", "--", "-x"]]),
        ("sudo -u deploy ostler logs --nostream | grep x; ostler stop all", &[&["logs", "--nostream"], &["stop", "all"]]),
        ("docker exec c ostler health", &[&["health"]]),
        ("npm install -g ostler", &[]),
        ("echo ostler list", &[]),
        ("pid=$(ostler pid api)", &[&["pid", "api"]]),
        ("pm2 reload all", &[&["reload", "all"]]),
    ];
    for (line, expected) in cases {
        assert_eq!(calls(line), expected, "{line}");
    }
}

/// The program accepts each call of ostler in each page.
#[test]
fn every_documented_command_parses() {
    let mut wrong = Vec::new();
    let mut parsed = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.is_commands()) {
            for (line, text) in block.typed() {
                for words in calls(&text) {
                    parsed += 1;
                    let words = words.iter().map(OsString::from).collect();
                    if let Err(error) = cli::parse(words) {
                        wrong.push(format!("{}:{line}: {text}\n    {error}", page.path));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "the program does not take these:\n{}", wrong.join("\n"));
    assert!(parsed > 300, "only {parsed} commands were found");
}
