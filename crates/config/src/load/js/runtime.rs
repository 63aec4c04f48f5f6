//! The real runtime on `PATH`: node, or else bun, or else deno.

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use ostler_core::message;

use super::{ENCODE, EvalFailure, Evaluand, Evaluation, read_answer};
use crate::context::{Context, find_program};

const DRIVER: &str = include_str!("driver.cjs");
/// Time limit of a file: enough for network requests.
const TIME_LIMIT: Duration = Duration::from_secs(15);
const MAX_OUTPUT: u64 = 32 << 20;

/// Evaluates a file in the first runtime that is found.
pub(super) fn run(job: &Evaluand<'_>, context: &Context) -> Result<Evaluation, EvalFailure> {
    let path = context.env.get("PATH").map(String::as_str);
    // Every bun and deno strips types, but not every node.
    let names = if is_typed(&job.file) { ["bun", "deno", "node"] } else { ["node", "bun", "deno"] };
    let (name, program) = names
        .into_iter()
        .find_map(|name| Some((name, find_program(name, path)?)))
        .ok_or_else(|| EvalFailure::Unavailable(message!("neither node, bun nor deno is on PATH")))?;
    let marker = marker();
    let child = start(name, &program, &marker, job, context)
        .map_err(|error| EvalFailure::Unavailable(message!("cannot start {program}: {error}", program = program.display(), error)))?;
    let output = collect(child, job)?;
    match between(&output.text, &marker) {
        Some(answer) => read_answer(answer, &job.file).map_err(|failure| match failure {
            EvalFailure::Threw(message, position) if name == "node" && is_typed(&job.file) => {
                EvalFailure::Threw(message!("{message} (TypeScript needs bun, deno or Node.js >= 22.18)", message), position)
            }
            failure => failure,
        }),
        None if output.timed_out => {
            Err(EvalFailure::Limit(message!("time limit: {name} did not finish within {seconds} s", name, seconds = TIME_LIMIT.as_secs())))
        }
        None => Err(EvalFailure::Threw(
            match output.status {
                None => message!("{name} exited before the file was evaluated", name),
                Some(code) => message!("{name} exited before the file was evaluated (exit code {code})", name, code),
            },
            None,
        )),
    }
}

fn is_typed(file: &str) -> bool {
    [".ts", ".mts", ".cts"].iter().any(|end| file.ends_with(end))
}

/// Returns a text that the file's own output cannot contain by accident.
fn marker() -> String {
    let mut random = [0u8; 16];
    // Without randomness, the pid is still better than a constant: the text separates outputs and
    // is no secret.
    if rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::NONBLOCK).is_err() {
        random[..4].copy_from_slice(&std::process::id().to_le_bytes());
    }
    random.iter().fold(String::from("\u{1}ostler-"), |text, byte| format!("{text}{byte:02x}")) + "\u{1}"
}

fn start(name: &str, program: &Path, marker: &str, job: &Evaluand<'_>, context: &Context) -> std::io::Result<Child> {
    let driver = DRIVER.replace("/*ENCODE*/", ENCODE.trim_end());
    let argv = serde_json::to_string(&context.argv).unwrap_or_else(|_| "[]".into());
    let mut command = Command::new(program);
    match name {
        "deno" => drop(command.args(["eval", "--ext=cjs", &driver, "--"])),
        _ => drop(command.args(["--eval", &driver, "--"])),
    }
    command
        .args([marker, job.kind, &job.file, &argv])
        .current_dir(&context.cwd)
        .env_clear()
        .envs(&*context.env)
        .stdin(if job.kind == "file" { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
}

struct RuntimeOutput {
    text: String,
    timed_out: bool,
    /// Exit code; none after a signal.
    status: Option<i32>,
}

fn collect(mut child: Child, job: &Evaluand<'_>) -> Result<RuntimeOutput, EvalFailure> {
    if let Some(mut stdin) = child.stdin.take() {
        let source = job.source.to_owned();
        // On a separate thread, because a child that does not read must not block the client. The
        // child's output shows errors.
        std::thread::spawn(move || drop(stdin.write_all(source.as_bytes())));
    }
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.take(MAX_OUTPUT).read_to_end(&mut bytes);
            // The receiver is gone after the time limit.
            let _ = sender.send(bytes);
        });
    }
    let received = receiver.recv_timeout(TIME_LIMIT);
    let timed_out = received.is_err();
    if timed_out {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| EvalFailure::Unavailable(message!("cannot wait for the runtime: {error}", error)))?;
    let text = String::from_utf8_lossy(&received.unwrap_or_default()).into_owned();
    Ok(RuntimeOutput { text, timed_out, status: status.code() })
}

fn between<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(marker)?;
    rest.split_once(marker).map(|(answer, _)| answer)
}
