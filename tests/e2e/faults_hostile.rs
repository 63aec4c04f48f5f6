//! Hostile values and hostile peers.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ostler_testkit::fixture;
use serde_json::json;

use crate::setup::{ecosystem, home, read_report, start_fixture};

#[test]
fn non_utf8_values_do_not_crash() {
    let home = home();
    let bad = OsString::from_vec(b"bad\xff\xfevalue".to_vec());
    let command = home.cmd("start sleep --name app -- 1000").env("BAD", &bad).env(OsString::from_vec(b"N\xffAME".to_vec()), "x");
    let output = command.run();
    // The value may be kept, replaced or refused with a message, but must not cause a crash or a
    // corrupt list.
    assert!(!output.all().contains("panicked"), "{output}");
    if output.code == 0 {
        assert_eq!(home.app("app").status(), "online");
    }
    let words = [OsString::from("start"), OsString::from_vec(b"sl\xffeep".to_vec())];
    let output = home.run(words).fails();
    assert!(!output.all().contains("panicked"), "{output}");
    let file = home.write("bad.json", b"{\"apps\": [{\"name\": \"\xff\xfe\", \"script\": \"sleep\"}]}");
    home.run(["start", &file]).fails().says("bad.json");
}

#[test]
fn huge_environment_is_passed_completely() {
    let home = home();
    let report = home.work().join("r.json");
    let big = "x".repeat(120_000);
    let mut command = home.cmd(format!("start {} --name big -- report {}", fixture(), report.display()));
    for i in 0..5 {
        command = command.env(format!("BIG{i}"), &big);
    }
    command.run().ok();
    let env = read_report(&home, "r.json")["env"].clone();
    assert!((0..5).all(|i| env[format!("BIG{i}")] == *big));
    home.kill_daemon();
    assert_eq!(home.app("big").text("BIG4").len(), 120_000);
}

#[test]
fn value_rejected_by_kernel_is_an_error() {
    let home = home();
    let file = ecosystem(&home, &format!(r#""name": "x", "script": "sleep", "args": ["{}"]"#, "y".repeat(300_000)));
    let output = home.run(["start", &file]).fails();
    assert!(output.all().to_lowercase().contains("too long"), "{output}");
    let file = ecosystem(&home, r#""name": "x", "script": "sleep", "args": ["a\u0000b"]"#);
    home.run(["start", &file]).fails();
    let file = ecosystem(&home, r#""name": "x", "script": "sleep", "env": {"A=B": "c", "": "d"}"#);
    home.run(["start", &file]);
    start_fixture(&home, "after", "", "hold");
    assert_eq!(home.app("after").status(), "online");
}

#[test]
fn names_cannot_escape_the_home() {
    let home = home();
    for name in ["../../evil", "/etc/evil", "..", ".", "a\nb", "a\u{1b}[31mb", "", &"n".repeat(5000)] {
        let output = home.run(["start", "sleep", "-f", &format!("--name={name}"), "--", "1000"]);
        assert!(!output.all().contains("panicked"), "{output}");
    }
    let list = home.run("list");
    assert!(!list.stdout.contains('\u{1b}'), "a name sends colours to the terminal");
    let strays: Vec<_> = std::fs::read_dir(home.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(strays.len(), 4, "something was written beside the home: {strays:?}");
}

fn frame(value: &serde_json::Value) -> Vec<u8> {
    let body = value.to_string().into_bytes();
    let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend(body);
    bytes
}

#[test]
fn malformed_client_loses_only_its_connection() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let (pid, daemon) = (home.app("app").pid(), home.daemon_pid());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut deep_frame = u32::try_from(deep.len()).unwrap().to_le_bytes().to_vec();
    deep_frame.extend(deep.as_bytes());
    let nonsense: [Vec<u8>; 8] = [
        vec![0xff; 4096],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0, 0, 0, 0],
        frame(&json!({"id": 1, "request": "no_such_request"})),
        frame(&json!({"id": -1, "request": {"act": {"action": "stop"}}})),
        frame(&json!([1, 2, 3])),
        deep_frame,
        frame(&json!({"id": 1, "request": "list"})),
    ];
    for bytes in nonsense {
        let mut stream = home.connect("ostler.sock");
        drop(stream.write_all(&bytes));
        let mut answer = Vec::new();
        drop(stream.shutdown(std::net::Shutdown::Write));
        drop(stream.read_to_end(&mut answer));
    }
    assert_eq!((home.app("app").pid(), home.daemon_pid()), (pid, daemon));
}

#[test]
fn silent_clients_do_not_block_others() {
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let mut silent: Vec<UnixStream> = (0..60).map(|_| home.connect("ostler.sock")).collect();
    // Each client sends an incomplete frame and stops.
    silent.iter_mut().for_each(|stream| stream.write_all(&[200, 0, 0, 0, b'{']).unwrap());
    assert_eq!(home.app("app").status(), "online");
    home.ok("restart app");
}

#[test]
fn client_that_never_reads_does_not_block_others() {
    let home = home();
    home.cmd(format!("start {} --name app -- hold", fixture())).env("BIG", "x".repeat(100_000)).run().ok();
    let mut lazy = home.connect("ostler.sock");
    lazy.write_all(&frame(&json!({"id": 0, "request": {"hello": {"protocol": 1, "version": "test"}}}))).unwrap();
    lazy.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    for id in 1..200 {
        if lazy.write_all(&frame(&json!({"id": id, "request": {"inspect": {"targets": []}}}))).is_err() {
            break;
        }
    }
    for _ in 0..3 {
        assert_eq!(home.app("app").status(), "online");
    }
}
