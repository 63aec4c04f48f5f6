//! Clients in another language, for what the load itself does not speak.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::LoadReport;
use crate::words::Words;

/// A program that asks until its stdin ends and then tells as JSON what it saw (`requests`, `failed`, `errors`, `by_body`,
/// `longest_gap_ms`). Its first line on stderr says that the first request is over.
#[derive(Debug)]
#[must_use]
pub struct ScriptLoad {
    child: Child,
}

impl ScriptLoad {
    /// Starts it and waits until its first request is over.
    #[track_caller]
    pub fn start(words: impl Words) -> Self {
        let words = words.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        stderr.read_line(&mut line).unwrap();
        if line != "begun\n" {
            stderr.read_to_string(&mut line).unwrap();
            panic!("the clients do not begin: {line}");
        }
        Self { child }
    }

    /// Ends it and gives its report.
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
        // It may have ended.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_report_is_read() {
        let json = r#"{"requests":7,"failed":1,"errors":["ECONNRESET"],"by_body":{"12":6},"longest_gap_ms":3.5}"#;
        let report = ScriptLoad::start(["sh", "-c", &format!("echo begun >&2; cat >/dev/null; echo '{json}'")]).stop();
        assert_eq!((report.requests, report.failed, report.good(), report.by_body["12"]), (7, 1, 6, 6));
        assert_eq!((report.errors, report.longest_gap_ms), (vec!["ECONNRESET".to_owned()], 3.5));
    }

    #[test]
    #[should_panic(expected = "the clients do not begin: no such thing")]
    fn one_that_does_not_begin_is_told() {
        let _never = ScriptLoad::start(["sh", "-c", "echo no such thing >&2"]);
    }
}
