//! Log search in the terminal (`logs --grep`) and in the dashboard's API, including rotated and
//! compressed files.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use ostler_testkit::{DEADLINE, Home, fixture};
use serde_json::Value;

use crate::setup::{home, json_lines, last_numbers};
use crate::web::Web;

/// Starts an app `name` with three log files: numbers 0 to 99 compressed, to 199 rotated, to 299
/// current. Every tenth line has a needle. All lines have times, a minute apart.
fn app_with_past(home: &Home, name: &str) {
    home.ok(format!("start {} --name {name} -- hold", fixture()));
    let logs = home.dir().join("logs");
    let lines = |range: std::ops::Range<u32>| -> String {
        let line = |n: u32| {
            let word = if n.is_multiple_of(10) { "Needle" } else { "hay" };
            format!("2026-11-2{}T{:02}:{:02}:00Z {name} {word} {n}\n", n / 100, n % 100 / 10, n % 10)
        };
        range.map(line).collect()
    };
    // The modification time of a rotated file is the time of its last line.
    let write = |file: &str, range: std::ops::Range<u32>| {
        let path = logs.join(format!("{name}-out{file}.log"));
        fs::write(&path, lines(range.clone())).unwrap();
        let seconds = 1_795_168_740 + u64::from(range.start / 100) * 86_400;
        fs::File::options().append(true).open(path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    write("__2026-11-20_12-00-00", 0..100);
    assert!(Command::new("gzip").arg(logs.join(format!("{name}-out__2026-11-20_12-00-00.log"))).status().unwrap().success());
    write("__2026-11-21_12-00-00", 100..200);
    write("", 200..300);
}

#[test]
fn terminal_search_covers_rotated_files() {
    let home = home();
    app_with_past(&home, "api");
    let shown = |words: &str| last_numbers(&home.ok(format!("logs api --nostream {words}")).stdout);
    let all: Vec<u32> = (0..300).step_by(10).collect();
    assert_eq!(shown("--grep Needle --lines 1000"), all, "in their order, over all files");
    assert_eq!(shown("--grep Needle"), all[15..], "the last 15");
    assert_eq!(shown("--grep needle --lines 50"), [0_u32; 0]);
    assert_eq!(shown("--grep needle --ignore-case --lines 2"), [280, 290]);
    assert_eq!(shown("--grep Needle.*[37]0$ --regex --lines 50"), [30, 70, 130, 170, 230, 270]);
    assert_eq!(shown("--since 2026-11-22T00:00:00Z --until 2026-11-22T00:03:00Z --lines 50"), [200, 201, 202, 203]);
    assert_eq!(shown("--grep Needle --until 2026-11-20T09:59:00Z --lines 2"), [80, 90], "in the compressed file alone");
    let json = home.ok("logs api --grep Needle --json --nostream --lines 1").stdout;
    let line: Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!((line["timestamp"].as_str(), line["app_name"].as_str()), (Some("2026-11-22T09:00:00.000Z"), Some("api")));
    for (words, why) in [
        ("--grep ( --regex", "unclosed group"),
        ("--grep x --since noon", "expected a time such as 10m"),
        ("--regex", "it needs --grep"),
        ("--since 10m --until 20m", "before --since"),
    ] {
        let output = home.run(format!("logs api --nostream {words}"));
        assert!(output.code == 2 && output.stderr.contains(why), "{words}: {output}");
    }
}

/// New lines are filtered, too. Between past and new lines, nothing is repeated or lost.
#[test]
fn followed_lines_are_filtered() {
    let home = home();
    let script = home.write(
        "w.sh",
        "#!/bin/sh\nread go; n=0; while [ $n -lt 2000 ]; do echo \"line $n x$((n % 7))\"; n=$((n + 1)); done; exec sleep 1000\n",
    );
    home.ok(format!("start {script} --name w"));
    home.ok("send w go");
    let mut reading = home.cmd("logs w --raw --grep x3 --lines 100000").command().stdout(Stdio::piped()).spawn().unwrap();
    let wanted: Vec<u32> = (0..2000).filter(|n| n % 7 == 3).collect();
    let mut lines = BufReader::new(reading.stdout.take().unwrap()).lines();
    let seen: Vec<u32> = lines.by_ref().take(wanted.len()).map(|line| line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()).collect();
    reading.kill().unwrap();
    reading.wait().unwrap();
    assert_eq!(seen, wanted);
}

/// Returns the records of a response.
fn records(web: &Web<'_>, query: &str) -> Vec<Value> {
    let answer = web.get(&format!("/api/logs/search?{query}"));
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    json_lines(&answer.body)
}

fn hits(records: &[Value]) -> Vec<&Value> {
    records.iter().map(|record| &record["hit"]).filter(|hit| hit.is_object()).collect()
}

fn hit_numbers(records: &[Value]) -> Vec<u32> {
    hits(records).iter().flat_map(|hit| last_numbers(hit["text"].as_str().unwrap())).collect()
}

#[test]
fn api_search_pages_through_rotated_files() {
    let home = home();
    app_with_past(&home, "api");
    app_with_past(&home, "secret");
    let web = Web::on(&home, "");
    let all: Vec<u32> = (0..300).step_by(10).rev().collect();
    let found = records(&web, "app=api&q=needle&ignore_case=1");
    assert_eq!(hit_numbers(&found), all, "the last first");
    let end = &found.last().unwrap()["end"];
    assert!(end["more"].is_null() && end["hits"] == 30 && end["trouble"] == serde_json::json!([]), "{end}");
    assert!(end["looked"].as_u64().unwrap() >= end["of"].as_u64().unwrap(), "{end}");
    let first = hits(&found)[0].clone();
    assert_eq!(
        (&first["at"], &first["stream"], &first["file"]),
        (&"2026-11-22T09:00:00.000Z".into(), &"out".into(), &"api-out.log".into())
    );
    assert!(
        first["before"][1].as_str().unwrap().ends_with(" hay 289") && first["after"][0].as_str().unwrap().ends_with(" hay 291"),
        "{first}"
    );
    // In pages, each starting at the end of the former page.
    let (mut pieces, mut before) = (Vec::new(), String::new());
    loop {
        let found = records(&web, &format!("app=api&q=Needle&limit=7{before}"));
        pieces.extend(hit_numbers(&found));
        let Some(more) = found.last().unwrap()["end"]["more"].as_str() else { break };
        before = format!("&before={more}");
    }
    assert_eq!(pieces, all);
    // The lines around a hit, also in a compressed file.
    let old = hits(&records(&web, "app=api&q=Needle%2050$&regex=1"))[0].clone();
    assert!(old["file"].as_str().unwrap().ends_with(".gz"), "{old}");
    let around = records(&web, &format!("app=api&context=20&at={}", old["place"].as_str().unwrap()));
    let around = hits(&around)[0].clone();
    assert_eq!((around["text"].clone(), around["before"].as_array().unwrap().len()), (old["text"].clone(), 20));
    assert_eq!(hit_numbers(&records(&web, "app=api&from=1795305600000&to=1795305780000")), [203, 202, 201, 200]);
    assert_eq!(hit_numbers(&records(&web, "app=api&q=Needle&stream=err")), [0_u32; 0]);
    let text = web.get("/api/logs/search?app=api&q=Needle&format=text");
    assert!(
        text.status == 200 && last_numbers(&text.body) == all && text.body.starts_with("0|api|out 2026-11-22T09:00:00.000Z "),
        "{text:?}"
    );
    for (query, why) in [
        ("q=(&regex=1", "unclosed group"),
        ("before=x", "cursor"),
        ("from=noon", "from"),
        ("stream=x", "stream"),
        ("q=a%0Ab", "line break"),
    ] {
        let answer = web.get(&format!("/api/logs/search?{query}"));
        assert!(answer.status == 400 && answer.json()["error"].as_str().unwrap().contains(why), "{query}: {answer:?}");
    }
    assert_eq!(web.get("/api/logs/search?app=nothing").status, 404);
    let gone = records(&web, "app=api&before=123-5");
    assert!(gone.last().unwrap()["error"].as_str().unwrap().contains("no longer exists"), "{gone:?}");
    // A token for a part finds nothing in other parts, even with a place.
    home.ok(format!("start {} --name mine --namespace own -- hold", fixture()));
    let part = web.with("web token part --namespace own");
    assert_eq!(part.get("/api/logs/search?app=secret&q=Needle").status, 404);
    assert_eq!(hit_numbers(&records(&part, "q=Needle")), [0_u32; 0]);
    let secret = hits(&records(&web, "app=secret&q=Needle&limit=1"))[0]["place"].as_str().unwrap().to_owned();
    assert_eq!(hits(&records(&part, &format!("at={secret}"))).len(), 0);
}

/// A link that looks like a rotated file is not followed.
#[test]
fn a_planted_link_is_not_followed() {
    let home = home();
    app_with_past(&home, "api");
    let secret = home.write("secret.txt", "Needle of others 7777\n");
    std::os::unix::fs::symlink(&secret, home.dir().join("logs/api-out__2026-11-23_12-00-00.log")).unwrap();
    let web = Web::on(&home, "");
    assert!(!hit_numbers(&records(&web, "app=api&q=Needle")).contains(&7777));
    assert!(!last_numbers(&home.ok("logs api --grep Needle --nostream --lines 100").stdout).contains(&7777));
}

/// A search that would take minutes stops with the browser, and blocks nothing.
#[test]
fn search_stops_when_the_browser_disconnects() {
    let home = home();
    home.ok(format!("start {} --name api -- hold", fixture()));
    let web = Web::on(&home, "");
    // A file with a hole of half a terabyte.
    let huge = fs::File::create(home.dir().join("logs/api-out__2026-11-21_12-00-00.log")).unwrap();
    huge.set_len(1 << 39).unwrap();
    let searches = || home.processes().iter().filter(|process| process.cmdline.contains("log-search")).count();
    let mut stream = TcpStream::connect(("127.0.0.1", web.port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let token = &web.token;
    write!(stream, "GET /api/logs/search?app=api&q=needle HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.contains("progress") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it ended");
    }
    assert_eq!(searches(), 1);
    assert_eq!(web.get("/api/apps").status, 200);
    drop(reader);
    home.wait_until("the search has ended", || searches() == 0);
}
