//! Content of the log files.

use super::*;

#[test]
fn lines_get_their_date_and_keep_their_order() {
    let mut rig = Rig::new("dates");
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    rig.write("one\ntwo\n");
    rig.complain("bad\n");
    rig.wait_for_text("out.log", "D: one\nD: two\n");
    rig.write("three");
    rig.end();
    assert_eq!(handle.join(), PipelineEnd::Drained);
    assert_eq!((rig.text("out.log"), rig.text("error.log")), ("D: one\nD: two\nD: three\n".into(), "D: bad\n".into()));
    assert_eq!(rig.reports(), [WriterReport::Ended(PipelineEnd::Drained)]);
}

#[test]
fn all_lines_before_the_exit_are_written() {
    let mut rig = Rig::new("flood");
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    rig.write(&text);
    rig.end();
    handle.join();
    let expected: String = text.lines().map(|line| format!("D: {line}\n")).collect();
    assert!(rig.text("out.log") == expected);
}

#[test]
fn prompt_is_written_and_its_line_continues() {
    let mut rig = Rig::new("prompt");
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    rig.write("name? ");
    rig.wait_for_text("out.log", "D: name? ");
    rig.write("alice\nnext\n");
    rig.wait_for_text("out.log", "D: name? alice\nD: next\n");
    rig.write("open");
    rig.wait_for_text("out.log", "D: name? alice\nD: next\nD: open");
    rig.end();
    handle.join();
    assert_eq!(rig.text("out.log"), "D: name? alice\nD: next\nD: open\n");
}

#[test]
fn lines_written_in_pieces_are_joined() {
    let mut rig = Rig::new("pieces");
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    for piece in ["a", "b", "c\nd", "e\n", "\n", "f"] {
        rig.write(piece);
        std::thread::yield_now();
    }
    rig.end();
    handle.join();
    assert_eq!(rig.text("out.log"), "D: abc\nD: de\nD: \nD: f\n");
}

#[test]
fn line_longer_than_the_pipe_is_whole_with_one_date() {
    for size in [100_000, 700_000, 5_000_000] {
        let mut rig = Rig::new("long");
        let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
        let line: String = (0..size).map(|n| char::from(b'a' + u8::try_from(n % 23).unwrap())).collect();
        rig.write("before\n");
        rig.write(&line);
        rig.write("\nafter\n");
        rig.end();
        handle.join();
        assert!(rig.text("out.log") == format!("D: before\nD: {line}\nD: after\n"), "{size}");
    }
}

#[test]
fn writes_that_waste_pipe_pages_do_not_stall() {
    let mut rig = Rig::new("pages");
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    let piece = "x".repeat(2049);
    for _ in 0..600 {
        rig.write(&piece);
    }
    rig.write("\n");
    rig.end();
    handle.join();
    assert!(rig.text("out.log") == format!("D: {}\n", piece.repeat(600)));
}

#[test]
fn json_lines_are_whole_objects_cut_between_characters() {
    let mut rig = Rig::new("json");
    let handle = Pipeline::spawn(rig.config(Format::Json { stamp: None, process_id: 4, app_name: "api".into() })).unwrap();
    let long = "é€😀".repeat(200_000);
    rig.write("first \"quoted\"\n");
    rig.write(&long);
    rig.write("\nlast");
    rig.complain("oops\n");
    rig.end();
    handle.join();
    let text = rig.text("out.log");
    let objects: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let message = |at: usize| objects[at]["message"].as_str().unwrap();
    assert_eq!((message(0), message(objects.len() - 1)), ("first \"quoted\"", "last"));
    assert!((1..objects.len() - 1).map(message).collect::<String>() == long);
    let partial: Vec<bool> = objects.iter().map(|object| object["partial"] == true).collect();
    let expected: Vec<bool> = (0..objects.len()).map(|at| (1..objects.len() - 2).contains(&at)).collect();
    assert_eq!(partial, expected, "all pieces of the long line but the last");
    assert!(objects.iter().all(|object| object["type"] == "out" && object["process_id"] == 4 && object["app_name"] == "api"));
    let error: serde_json::Value = serde_json::from_str(&rig.text("error.log")).unwrap();
    assert_eq!((&error["type"], &error["message"]), (&"err".into(), &"oops".into()));
    assert!(error["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn combined_file_has_whole_lines_of_both_streams() {
    let mut rig = Rig::new("combined");
    let config = Config { combined: Some(rig.path("all.log")), out: None, ..rig.config(dated("D")) };
    let handle = Pipeline::spawn(config).unwrap();
    rig.write("prompt> ");
    rig.wait_for_text("all.log", "D: prompt> ");
    rig.complain("error\n");
    rig.wait_for_text("all.log", "D: prompt> \nD: error\n");
    rig.write("answer\n");
    rig.wait_for_text("all.log", "D: prompt> \nD: error\nD: answer\n");
    rig.end();
    handle.join();
    assert_eq!(rig.text("error.log"), "D: error\n");
    assert!(!rig.path("out.log").exists());
}

#[test]
fn one_path_for_all_streams_has_each_line_once() {
    let mut rig = Rig::new("same");
    let path = rig.path("one.log");
    let config = Config { out: Some(path.clone()), error: Some(path.clone()), combined: Some(path), ..rig.config(Format::Plain) };
    let handle = Pipeline::spawn(config).unwrap();
    rig.write("a\n");
    rig.wait_for_text("one.log", "a\n");
    rig.complain("b\n");
    rig.end();
    handle.join();
    assert_eq!(rig.text("one.log"), "a\nb\n");
}

#[test]
fn instances_that_share_a_file_do_not_mix_their_lines() {
    let mut rigs = vec![Rig::new("shared")];
    for slot in 1..4 {
        let sibling = rigs[0].sibling(slot);
        rigs.push(sibling);
    }
    let path = rigs[0].path("shared.log");
    let config = |rig: &Rig| Config { out: Some(path.clone()), ..rig.config(dated("D")) };
    let handles: Vec<Handle> = rigs.iter().map(|rig| Pipeline::spawn(config(rig)).unwrap()).collect();
    let writers: Vec<_> = rigs
        .iter_mut()
        .enumerate()
        .map(|(id, rig)| {
            let mut out = rig.out.take().unwrap();
            rig.end();
            std::thread::spawn(move || {
                for n in 0..20_000 {
                    out.write_all(format!("{id} {n}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    for handle in handles {
        assert_eq!(handle.join(), PipelineEnd::Drained);
    }
    let mut next = [0; 4];
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        let (id, n) = line.strip_prefix("D: ").unwrap().split_once(' ').unwrap();
        let id: usize = id.parse().unwrap();
        assert_eq!(n.parse::<u32>().unwrap(), next[id], "{line}");
        next[id] += 1;
    }
    assert_eq!(next, [20_000; 4]);
}

#[test]
fn new_process_does_not_continue_an_old_open_line() {
    let mut rig = Rig::new("old");
    std::fs::write(rig.path("out.log"), "left over").unwrap();
    let handle = Pipeline::spawn(rig.config(dated("D"))).unwrap();
    rig.write("new\n");
    rig.end();
    handle.join();
    assert_eq!(rig.text("out.log"), "left over\nD: new\n");
}
