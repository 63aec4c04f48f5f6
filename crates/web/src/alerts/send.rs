//! Sending of messages: one request, mail or program run per message, with a time limit. Redirects
//! are not followed, and errors contain no secret parts of addresses.

use std::process::Stdio;
use std::time::Duration;

use hyper::Method;
use ostler_alerts::channel::Service;
use ostler_alerts::message::Message;
use ostler_alerts::render::{DeliveryResult, Outgoing, delivery_result, render};
use ostler_alerts::text::plain;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, Command};
use tokio::time::timeout;

use super::smtp;
use crate::http::client::exchange;

/// Time limit for a whole request.
const REQUEST: Duration = Duration::from_secs(20);
/// Time limit for a mail; it is longer, because servers scan mails during delivery.
const LETTER: Duration = Duration::from_secs(60);
/// Time limit for a program.
const PROGRAM: Duration = Duration::from_secs(30);
/// Time limit for reading a program's remaining output after it exits.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Maximum number of bytes of its standard error that are kept.
const MAX_STDERR: usize = 4096;
/// Exit code by which a program asks for a retry (`EX_TEMPFAIL`).
const TRY_AGAIN: i32 = 75;

/// Sends a message and returns the result.
pub(super) async fn send(service: &Service, message: &Message) -> DeliveryResult {
    let later = |why: String| DeliveryResult::Later { after_ms: None, why };
    match render(service, message, crate::clock::now_ms()) {
        Outgoing::Post(post) => {
            let sent = timeout(REQUEST, exchange(Method::POST, &post.url, &post.headers, post.body)).await;
            match sent {
                Ok(Ok(got)) => delivery_result(service, &got.answer, crate::clock::now_ms()),
                Ok(Err(why)) => later(why.to_string()),
                Err(_) => later(format!("{} did not answer within {} s", post.url.origin(), REQUEST.as_secs())),
            }
        }
        Outgoing::Mail { mail, text } => match timeout(LETTER, smtp::deliver(&mail.0, &text)).await {
            Ok(verdict) => verdict,
            Err(_) => later(format!("{} did not answer within {} s", mail.0.host, LETTER.as_secs())),
        },
        Outgoing::Run { argv, stdin } => run(&argv, &stdin, &message.id).await,
    }
}

/// Runs a program in its own process group. From the environment it gets only the variables that
/// are needed to find programs.
async fn run(argv: &[String], stdin: &str, id: &str) -> DeliveryResult {
    let Some((program, arguments)) = argv.split_first() else { return DeliveryResult::Refused("no program is set".into()) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("OSTLER_ALERT_ID", id).current_dir("/").process_group(0).kill_on_drop(true);
    for name in ["PATH", "HOME", "LANG", "USER", "TZ"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return DeliveryResult::Refused(format!("cannot run {}: {error}", plain(program, 100))),
    };
    let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    let mut stderr_text = Vec::new();
    let (feeds, listens) = (write_stdin(input, stdin.as_bytes()), read_stderr(errors, &mut stderr_text));
    // Only the program's exit counts: its background processes may hold standard error open for any
    // time.
    let work = async {
        tokio::pin!(feeds, listens);
        let (mut is_fed, mut is_heard) = (false, false);
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = &mut feeds, if !is_fed => is_fed = true,
                () = &mut listens, if !is_heard => is_heard = true,
            }
        };
        if !is_heard {
            let _ = timeout(LAST_WORDS, listens).await;
        }
        status
    };
    let ended = timeout(PROGRAM, work).await;
    if let (Some(group), true) = (group, ended.is_err()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    match ended {
        Ok(Ok(status)) if status.success() => DeliveryResult::Delivered,
        Ok(Ok(status)) => {
            let why = format!("{}: {status} {}", plain(program, 100), plain(&String::from_utf8_lossy(&stderr_text), 200));
            if status.code() == Some(TRY_AGAIN) { DeliveryResult::Later { after_ms: None, why } } else { DeliveryResult::Refused(why) }
        }
        Ok(Err(error)) => DeliveryResult::Refused(error.to_string()),
        Err(_) => {
            DeliveryResult::Later { after_ms: None, why: format!("{} did not exit within {} s", plain(program, 100), PROGRAM.as_secs()) }
        }
    }
}

/// Writes the message. The program need not read it.
async fn write_stdin(input: Option<ChildStdin>, text: &[u8]) {
    let Some(mut input) = input else { return };
    let _ = input.write_all(text).await;
}

/// Reads to the end, so that a full pipe does not block the program, and keeps the beginning.
async fn read_stderr(errors: Option<ChildStderr>, stderr_text: &mut Vec<u8>) {
    let Some(mut errors) = errors else { return };
    let mut block = [0; 1024];
    while let Ok(length @ 1..) = errors.read(&mut block).await {
        let room = MAX_STDERR.saturating_sub(stderr_text.len());
        stderr_text.extend_from_slice(&block[..length.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_script(script: &str) -> DeliveryResult {
        run(&["/bin/sh".into(), "-c".into(), script.into()], "{}\n", "1-1").await
    }

    #[tokio::test]
    async fn command_exit_code_decides_the_verdict() {
        assert_eq!(run_script("cat").await, DeliveryResult::Delivered);
        assert_eq!(run_script("exec <&-").await, DeliveryResult::Delivered, "it need not read");
        assert_eq!(run_script("head -c 1000000 /dev/zero >&2").await, DeliveryResult::Delivered, "it may say more than is kept");
        let DeliveryResult::Refused(why) = run_script("echo no such room >&2; exit 3").await else { panic!("refused") };
        assert!(why.contains("no such room"), "{why}");
        assert!(matches!(run_script("exit 75").await, DeliveryResult::Later { .. }));
    }

    /// Waiting for background processes would repeat the message every 30 s, although it was
    /// delivered.
    #[tokio::test]
    async fn background_processes_of_command_are_not_waited_for() {
        let begin = std::time::Instant::now();
        assert_eq!(run_script("sleep 25 & exit 0").await, DeliveryResult::Delivered);
        assert!(begin.elapsed() < Duration::from_secs(20), "it waited for the sleep");
        assert_eq!(
            run_script("cat > /dev/null; sleep 25 & echo bad >&2; exit 1").await,
            DeliveryResult::Refused("/bin/sh: exit status: 1 bad".into())
        );
    }
}
