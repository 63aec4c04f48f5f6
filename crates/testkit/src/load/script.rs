//! Clients in another language, for protocols that the load itself does not support.

use std::io::{BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use super::LoadReport;
use crate::words::Words;

/// Program that sends requests until its stdin ends, and then reports the result as JSON
/// (`requests`, `failed`, `errors`, `by_body`, `longest_gap_ms`). It writes a dot to stderr for
/// each finished request.
#[derive(Debug)]
#[must_use]
pub struct ScriptLoad {
    child: Child,
    requests: Arc<AtomicU64>,
}

impl ScriptLoad {
    /// Starts the program.
    #[track_caller]
    pub fn start(words: impl Words) -> Self {
        let words = words.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let (dots, seen) = (BufReader::new(child.stderr.take().expect("it is piped")), Arc::clone(&requests));
        thread::spawn(move || {
            for byte in dots.bytes().map_while(Result::ok) {
                if byte == b'.' {
                    seen.fetch_add(1, Ordering::Relaxed);
                } else {
                    // Other output is for the reader of a failed test.
                    eprint!("{}", char::from(byte));
                }
            }
        });
        Self { child, requests }
    }

    /// Returns the number of finished requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Stops the program and returns its report.
    #[must_use]
    #[track_caller]
    pub fn stop(mut self) -> LoadReport {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.child.stdout.take().expect("it is piped").read_to_string(&mut text).unwrap();
        let ending = self.child.wait().unwrap();
        let Ok(json) = serde_json::from_str::<Value>(&text) else { panic!("the clients ended with {ending} and told {text:?}") };
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        LoadReport {
            requests: number(&json["requests"]),
            failed: number(&json["failed"]),
            errors: json["errors"].as_array().into_iter().flatten().map(|error| error.as_str().unwrap_or_default().to_owned()).collect(),
            longest_gap_ms: json["longest_gap_ms"].as_f64().unwrap_or(f64::INFINITY),
            by_body: json["by_body"].as_object().into_iter().flatten().map(|(body, count)| (body.clone(), number(count))).collect(),
            ..LoadReport::default()
        }
    }
}

impl Drop for ScriptLoad {
    fn drop(&mut self) {
        // It may already have exited.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_and_report_is_read() {
        let json = r#"{"requests":7,"failed":1,"errors":["ECONNRESET"],"by_body":{"12":6},"longest_gap_ms":3.5}"#;
        let load = ScriptLoad::start(["sh", "-c", &format!("printf ... >&2; cat >/dev/null; echo '{json}'")]);
        while load.requests() < 3 {
            thread::yield_now();
        }
        let report = load.stop();
        assert_eq!((report.requests, report.failed, report.good(), report.by_body["12"]), (7, 1, 6, 6));
        assert_eq!((report.errors, report.longest_gap_ms), (vec!["ECONNRESET".to_owned()], 3.5));
    }

    #[test]
    #[should_panic(expected = "the clients ended with exit status: 3 and told \"\"")]
    fn load_without_report_panics() {
        let _never = ScriptLoad::start(["sh", "-c", "exit 3"]).stop();
    }
}
