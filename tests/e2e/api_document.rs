//! `docs/api.md` is correct: the test sends its examples over the native socket, and compares its
//! shapes of `--json`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use ostler_testkit::{DEADLINE, fixture_path, shape};
use serde_json::Value;

use crate::setup::{home, start_fixture};

fn document() -> String {
    std::fs::read_to_string(fixture_path("../../docs/api.md")).unwrap()
}

#[test]
fn native_socket_answers_documented_requests() {
    let home = home();
    start_fixture(&home, "api", "", "hold");
    let mut socket = UnixStream::connect(home.dir().join("ostler.sock")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let text = document();
    let mut requests = 0;
    for line in text.lines() {
        if let Some(request) = line.strip_prefix("> {") {
            let request = format!("{{{request}");
            socket.write_all(&u32::try_from(request.len()).unwrap().to_le_bytes()).unwrap();
            socket.write_all(request.as_bytes()).unwrap();
            requests += 1;
        } else if let Some(answer) = line.strip_prefix("< ") {
            let mut length = [0; 4];
            socket.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
            socket.read_exact(&mut bytes).unwrap();
            let [told, written]: [Value; 2] = [serde_json::from_slice(&bytes).unwrap(), serde_json::from_str(answer).unwrap()];
            assert_eq!((shape(&told), &told["id"]), (shape(&written), &written["id"]), "{told}");
            let first = |value: &Value| value["response"].as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
            assert_eq!(first(&told), first(&written));
        }
    }
    assert_eq!(requests, 3);
}

#[test]
fn json_output_has_documented_keys() {
    let home = home();
    let script = home.write("api.sh", "#!/bin/sh\necho a line\nexec sleep 1000\n");
    home.ok(format!("start {script} --name api"));
    home.wait_log("api-out.log", "a line");
    home.ok("restart api");
    let home = home;
    let text = document();
    let rows = text.lines().skip_while(|line| !line.starts_with("| command | prints")).skip(2).take_while(|line| line.starts_with('|'));
    let mut commands = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let (prints, keys) = (cells[1].trim(), quoted(cells[2]));
        for command in quoted(cells[0]) {
            let stdout = home.run(format!("{command} --json")).stdout;
            let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{command}: {error}: {stdout}"));
            let values: Vec<Value> = if prints.starts_with("lines") {
                stdout.lines().map(parse).collect()
            } else {
                let value = parse(&stdout);
                assert_eq!(value.is_array(), prints.starts_with("list"), "{command}: {stdout}");
                value.as_array().cloned().unwrap_or_else(|| vec![value])
            };
            assert!(!values.is_empty(), "{command}");
            for key in &keys {
                assert!(values.iter().all(|value| value.get(key).is_some()), "{command} has no {key}: {stdout}");
            }
            commands += 1;
        }
    }
    assert!(commands > 20, "{commands} commands are read");
}
