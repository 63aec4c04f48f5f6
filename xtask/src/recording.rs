//! `cargo xtask recording`: runs a short session and draws it as the picture of the README.
//!
//! The picture is an SVG whose lines appear one after the other. A reader who prefers reduced motion sees all lines at once.

use crate::http;
use crate::process::{build, must_run, on_path, output, root};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Picture, below the root of the checkout.
const PICTURE: &str = "docs/screenshots/session.svg";

/// Width of the terminal in characters.
const COLUMNS: usize = 80;

/// Commands of the session. `PORT` is replaced by a free port when a command runs, and shown as 3000.
const SESSION: &[&str] = &[
    "ostler start server.js --name api -i 2",
    "curl localhost:PORT",
    "kill -9 $(cat ~/.ostler/pm2.pid)  # the daemon dies, not the app",
    "curl localhost:PORT",
    "ostler reload api                  # a new release, no failed request",
    "ostler list",
];

const SERVER: &str =
    "require('http').createServer((request, response) => response.end(`hello from process ${process.pid}\\n`)).listen(process.env.PORT);\n";

/// Runs the session in a temporary home and writes the picture.
pub(crate) fn run() -> Result<()> {
    ensure!(on_path("node") && on_path("script"), "the recording needs `node` and `script` (util-linux)");
    let stage = Stage { folder: std::env::temp_dir().join(format!("ostler-recording-{}", std::process::id())), port: http::free_ports(1)? };
    fs::create_dir_all(stage.folder.join("home"))?;
    fs::create_dir_all(stage.folder.join("bin"))?;
    fs::write(stage.folder.join("server.js"), SERVER)?;
    std::os::unix::fs::symlink(build("ostler", "ostler", "dev")?, stage.folder.join("bin/ostler"))?;
    let mut steps = Vec::new();
    for command in SESSION {
        let typed = command.replace("PORT", "3000");
        let written = stage.output(&command.replace("PORT", &stage.port.to_string()))?;
        steps.push((
            typed,
            written
                .replace(&format!("{}/home", stage.folder.display()), "~")
                .replace(&stage.folder.display().to_string(), "~/api")
                .replace(&format!(":{}", stage.port), ":3000")
                .lines()
                .map(str::to_owned)
                .collect(),
        ));
    }
    fs::write(root().join(PICTURE), picture(&steps)).with_context(|| format!("cannot write {PICTURE}"))?;
    println!("wrote {PICTURE}");
    Ok(())
}

/// Temporary home of the session. Dropping it stops its daemon and removes the folder.
struct Stage {
    folder: PathBuf,
    port: u16,
}

impl Stage {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.current_dir(&self.folder).env("HOME", self.folder.join("home")).env("PORT", self.port.to_string());
        command.env("PATH", format!("{}:{path}", self.folder.join("bin").display())).env("LC_ALL", "C.UTF-8");
        for variable in ["OSTLER_HOME", "PM2_HOME", "CI", "NO_COLOR"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a line of shell in a terminal and returns its output with colours.
    fn output(&self, line: &str) -> Result<String> {
        let line = format!("stty cols {COLUMNS} rows 40; {line}");
        Ok(settled(&output(self.command("script").args(["-qefc", &line, "/dev/null"]))?.replace('\r', "")))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(must_run(self.command("ostler").args(["kill", "--silent"])));
        drop(fs::remove_dir_all(Path::new(&self.folder)));
    }
}

/// Draws the steps: a command and the lines that it wrote.
fn picture(steps: &[(String, Vec<String>)]) -> String {
    const LINE: usize = 19;
    const MARGIN: usize = 16;
    let lines: usize = steps.iter().map(|(_, written)| written.len() + 1).sum();
    let (width, height) = (COLUMNS * 84 / 10 + 2 * MARGIN, lines * LINE + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>A session: start two instances, kill the daemon, reload</title>\n\
         <style>\n\
         text {{ font: 14px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre; fill: #d6d9e0; }}\n\
         g {{ animation: show 0.2s both; }}\n\
         @keyframes show {{ from {{ opacity: 0; }} }}\n\
         @media (prefers-reduced-motion: reduce) {{ g {{ animation: none; }} }}\n\
         .b {{ font-weight: bold; }} .c31 {{ fill: #ff7b72; }} .c32 {{ fill: #7ee787; }} .c33 {{ fill: #e3b341; }} .c34 {{ fill: #79c0ff; }} .c36 {{ fill: #56d4dd; }} .c90, .c2 {{ fill: #8b949e; }}\n\
         </style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#0d1117\"/>\n"
    );
    let mut y = MARGIN + LINE - 5;
    for (step, (typed, written)) in steps.iter().enumerate() {
        let typed = format!("\x1b[32m$\x1b[0m \x1b[1m{typed}\x1b[0m");
        let _ = writeln!(svg, "<g style=\"animation-delay: {}s\">", step * 2);
        for line in std::iter::once(&typed).chain(written) {
            let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\">{}</text>", spans(line));
            y += LINE;
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Turns the colours of a line into spans.
fn spans(line: &str) -> String {
    let mut drawn = String::new();
    let (mut bold, mut colour) = (false, None);
    for (index, part) in line.split("\x1b[").enumerate() {
        let text = match part.split_once('m').filter(|_| index > 0) {
            Some((codes, text)) => {
                for code in codes.split(';').map(|code| code.parse().unwrap_or(0)) {
                    match code {
                        0 => (bold, colour) = (false, None),
                        1 => bold = true,
                        code => colour = Some(code),
                    }
                }
                text
            }
            None => part,
        };
        if text.is_empty() {
            continue;
        }
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let weight = if bold { "b" } else { "" };
        let _ = match colour {
            Some(code) => write!(drawn, "<tspan class=\"{weight} c{code}\">{text}</tspan>"),
            None if bold => write!(drawn, "<tspan class=\"b\">{text}</tspan>"),
            None => write!(drawn, "{text}"),
        };
    }
    drawn
}

/// Returns the text that stays on the screen: live lines are drawn over the lines before them.
fn settled(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for mut line in text.lines() {
        while let Some((count, rest)) = line.strip_prefix("\x1b[").and_then(|rest| rest.split_once("A\x1b[J")) {
            let Ok(count) = count.parse::<usize>() else { break };
            lines.truncate(lines.len().saturating_sub(count));
            line = rest;
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_spans() {
        assert_eq!(spans("a < b & c"), "a &lt; b &amp; c");
        assert_eq!(spans("\x1b[1m\x1b[36mid\x1b[0m 7"), "<tspan class=\"b c36\">id</tspan> 7");
        assert_eq!(spans("\x1b[31mred"), "<tspan class=\" c31\">red</tspan>");
    }

    #[test]
    fn picture_has_a_line_per_line() {
        let svg = picture(&[("ostler list".into(), vec!["a".into(), "b".into()])]);
        assert_eq!(svg.matches("<text ").count(), 3);
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn live_lines_are_replaced() {
        assert_eq!(settled("one\nwaits 1\n\x1b[1A\x1b[Jwaits 2\n\x1b[1A\x1b[Jdone\nend"), "one\ndone\nend");
    }
}
