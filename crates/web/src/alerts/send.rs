//! Sending: one request, letter or program run for each message, within a bounded time. Redirects are not followed, and no error has an address with what may be secret.

use std::process::Stdio;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use ostler_alerts::channel::{Service, Url};
use ostler_alerts::message::Message;
use ostler_alerts::render::{Answer, Outgoing, Verdict, judge, render};
use ostler_alerts::text::plain;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::{smtp, tls};

/// Longest time for a request, everything included.
const REQUEST: Duration = Duration::from_secs(20);
/// The same for a letter: servers look at it while they have it.
const LETTER: Duration = Duration::from_secs(60);
/// The same for a program.
const PROGRAM: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const MOST_ANSWER: usize = 16 << 10;
/// Exit code of a program by which it asks to be run again later (`EX_TEMPFAIL`).
const TRY_AGAIN: i32 = 75;

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) answer: Answer,
    /// Days for which the certificate is valid; none = there is none.
    pub(super) certificate_days: Option<i64>,
}

/// Sends a message, and says what became of it.
pub(super) async fn send(service: &Service, message: &Message) -> Verdict {
    let later = |why: String| Verdict::Later { after_ms: None, why };
    match render(service, message, crate::now_ms()) {
        Outgoing::Post(post) => {
            let sent = timeout(REQUEST, exchange(Method::POST, &post.url, &post.headers, post.body)).await;
            match sent {
                Ok(Ok(got)) => judge(service, &got.answer, crate::now_ms()),
                Ok(Err(why)) => later(why),
                Err(_) => later(format!("{} did not answer within {} s", post.url.origin(), REQUEST.as_secs())),
            }
        }
        Outgoing::Letter { mail, text } => match timeout(LETTER, smtp::deliver(&mail.0, &text)).await {
            Ok(verdict) => verdict,
            Err(_) => later(format!("{} did not answer within {} s", mail.0.host, LETTER.as_secs())),
        },
        Outgoing::Run { argv, stdin } => run(&argv, &stdin, &message.id).await,
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// Why there is no answer, in words.
pub(crate) async fn exchange(
    method: Method,
    url: &Url,
    headers: &[(impl AsRef<str>, String)],
    body: impl Into<Bytes>,
) -> Result<Got, String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what} {}: {error}", url.origin());
    let mut stream = tls::connect(&url.host, url.port).await?;
    let mut certificate_days = None;
    if url.tls {
        (stream, certificate_days) = tls::encrypt(&url.host, stream).await?;
    }
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed("cannot speak with", &error))?;
    let _driver = Driver(tokio::spawn(async move { drop(connection.await) }));
    let mut request = Request::builder().method(method).uri(&url.path).header(HOST, url.authority()).header(USER_AGENT, "ostler");
    for (name, value) in headers {
        request = request.header(name.as_ref(), value);
    }
    let request = request.body(Full::<Bytes>::from(body.into())).map_err(|error| failed("cannot ask", &error))?;
    let response = sender.send_request(request).await.map_err(|error| failed("no answer from", &error))?;
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while bytes.len() < MOST_ANSWER {
        // What broke off has its status all the same.
        let Some(Ok(frame)) = body.frame().await else { break };
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..data.len().min(MOST_ANSWER)]));
    }
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let answer = Answer { status: head.status.as_u16(), retry_after, body: String::from_utf8_lossy(&bytes).into_owned() };
    Ok(Got { answer, certificate_days })
}

/// A connection that is driven, until this is dropped.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a program in a group of its own, with nothing of our environment but what finds programs.
async fn run(argv: &[String], stdin: &str, id: &str) -> Verdict {
    let Some((program, arguments)) = argv.split_first() else { return Verdict::Refused("no program is given".into()) };
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
        Err(error) => return Verdict::Refused(format!("cannot run {}: {error}", plain(program, 100))),
    };
    let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    let work = async {
        if let Some(mut input) = input {
            // It need not read it.
            let _ = input.write_all(stdin.as_bytes()).await;
        }
        let mut said = Vec::new();
        if let Some(errors) = errors {
            let _ = errors.take(4096).read_to_end(&mut said).await;
        }
        (child.wait().await, said)
    };
    let ended = timeout(PROGRAM, work).await;
    if let (Some(group), true) = (group, ended.is_err()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    match ended {
        Ok((Ok(status), _)) if status.success() => Verdict::Delivered,
        Ok((Ok(status), said)) => {
            let why = format!("{}: {status} {}", plain(program, 100), plain(&String::from_utf8_lossy(&said), 200));
            if status.code() == Some(TRY_AGAIN) { Verdict::Later { after_ms: None, why } } else { Verdict::Refused(why) }
        }
        Ok((Err(error), _)) => Verdict::Refused(error.to_string()),
        Err(_) => Verdict::Later { after_ms: None, why: format!("{} did not end within {} s", plain(program, 100), PROGRAM.as_secs()) },
    }
}
