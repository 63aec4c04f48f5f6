//! Log rotation: no line is lost, duplicated or cut, for every kind of writer and every killed
//! process.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use ostler_testkit::{Home, Tmpfs, alive, fixture, kill, names_in, needs_root, skip};
use rustix::process::Signal;

use crate::setup::{SeededRandom, ecosystem, home, start_fixture};

/// Returns the names of a log's rotated files, the oldest first. For a moment the log itself has
/// such a name, while its copy is still hidden. Such a log is not rotated yet.
pub fn rotated(home: &Home, stem: &str) -> Vec<String> {
    let logs = home.dir().join("logs");
    let mut names: Vec<(std::time::SystemTime, String)> = fs::read_dir(&logs)
        .unwrap()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.file_name().into_string().ok()?)))
        .filter(|(_, name)| name.starts_with(&format!("{stem}__")))
        .collect();
    names.sort();
    let is_rotated = |name: &String| !logs.join(format!(".{name}.ostler")).exists();
    names.into_iter().map(|(_, name)| name).filter(is_rotated).collect()
}

/// Returns the text of a file, compressed or not.
pub fn text_of(home: &Home, name: &str) -> String {
    try_text(home, name).unwrap_or_else(|| panic!("{name} is broken"))
}

pub fn try_text(home: &Home, name: &str) -> Option<String> {
    let path = home.dir().join("logs").join(name);
    if !name.ends_with(".gz") {
        return fs::read_to_string(path).ok();
    }
    let output = std::process::Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Checks all lines ever written to a log of the fixture's `count`: each number once, in order, in
/// any file.
#[track_caller]
fn whole(home: &Home, log: &str, upto: u32) {
    let stem = log.strip_suffix(".log").unwrap();
    // Another rotation may happen while the test reads.
    let texts = loop {
        let names = rotated(home, stem);
        let mut texts: Vec<String> = names.iter().map(|name| text_of(home, name)).collect();
        texts.push(home.log(log));
        let is_half_done = |name: &String| name.starts_with(&format!(".{stem}__")) && name.ends_with(".log.ostler");
        if !names_in(home.dir().join("logs")).iter().any(is_half_done) && rotated(home, stem) == names {
            break texts;
        }
    };
    let number = |line: &str| line.rsplit(' ').next().and_then(|word| word.parse::<u32>().ok());
    let mut parts: Vec<Vec<u32>> = Vec::new();
    for text in texts {
        assert!(text.is_empty() || text.ends_with('\n'), "a file ends within a line");
        let lines = text.lines().filter(|line| !line.ends_with("end"));
        parts.push(lines.map(|line| number(line).unwrap_or_else(|| panic!("a cut line: {line:?}"))).collect());
    }
    // Two files with the same time have no defined order.
    parts.retain(|part| !part.is_empty());
    parts.sort_by_key(|part| part[0]);
    let all: Vec<u32> = parts.concat();
    let wrong = all.iter().zip(1..).find(|(seen, wanted)| **seen != *wanted);
    assert!(wrong.is_none() && all.len() == upto as usize, "{} lines of {upto}, first wrong {wrong:?}", all.len());
}

/// Starts an app that counts, with this rotation.
fn count(home: &Home, n: u32, rotate: &str, more: &str) {
    count_at(home, &format!("{n} 200"), rotate, more);
}

/// Starts an app that counts with these arguments: numbers, numbers per millisecond, and bytes per
/// line.
fn count_at(home: &Home, arguments: &str, rotate: &str, more: &str) {
    let file = ecosystem(
        home,
        &format!(
            r#""name": "c", "script": "{}", "args": "count {arguments}", "autorestart": false, "log_rotate": {rotate}{more}"#,
            fixture()
        ),
    );
    home.ok(format!("start {file}"));
}

#[track_caller]
fn wait_for_last_line(home: &Home) {
    let is_last = |name: &String| {
        if name.ends_with(".gz") { try_text(home, name).is_some_and(|text| text.ends_with("end\n")) } else { ends(home, name) }
    };
    home.wait_until("it has said everything", || ends(home, "c-out.log") || rotated(home, "c-out").iter().any(is_last));
}

/// Returns true if the last line of a log is `end`. Reads only that part, because the logs are
/// large and the caller polls.
fn ends(home: &Home, name: &str) -> bool {
    const END: &[u8] = b"end\n";
    let Ok(file) = fs::File::open(home.dir().join("logs").join(name)) else { return false };
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut last = [0; END.len()];
    file.read_exact_at(&mut last, length.saturating_sub(END.len() as u64)).is_ok() && last == *END
}

/// Returns the text of all files. During a rotation, a file that is being compressed or removed is
/// missing.
fn all_text(home: &Home) -> String {
    let text = |name: &String| if home.dir().join("logs").join(name).exists() { try_text(home, name) } else { None };
    rotated(home, "c-out").iter().filter_map(text).collect::<String>() + &home.log("c-out.log")
}

#[test]
fn log_written_by_the_app_is_rotated() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    count(&home, 600_000, r#"{"max_size": "200K", "retain": "all"}"#, "");
    home.wait_until("it was rotated", || !rotated(&home, "c-out").is_empty());
    let pid = home.app("c").pid();
    let name = &rotated(&home, "c-out")[0];
    let mode = |name: &str| fs::metadata(home.dir().join("logs").join(name)).unwrap().permissions().mode();
    assert_eq!(mode(name), mode("c-out.log"));
    // `c-out__2026-11-21_00-00-00.log`, as in pm2-logrotate.
    let date = name.strip_prefix("c-out__").unwrap().strip_suffix(".log").unwrap();
    assert!(date.len() >= 19 && date.as_bytes()[10] == b'_', "{name}");
    assert_eq!(home.app("c").pid(), pid);
    wait_for_last_line(&home);
    whole(&home, "c-out.log", 600_000);
}

#[test]
fn log_written_by_ostler_is_rotated() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    count(&home, 200_000, r#"{"max_size": "200K", "retain": "all"}"#, r#", "log_date_format": "YYYY""#);
    // A second time only if the writer is slower than the checks.
    home.wait_until("it was rotated", || !rotated(&home, "c-out").is_empty());
    wait_for_last_line(&home);
    whole(&home, "c-out.log", 200_000);
}

#[test]
fn file_shared_by_instances_is_rotated() {
    for more in ["", r#", "log_type": "json""#] {
        let home = home();
        home.ok("set log_rotate:check_interval 1");
        let file = ecosystem(
            &home,
            &format!(
                r#""name": "c", "script": "{}", "args": "flood 60000", "instances": 3, "exec_mode": "fork", "merge_logs": true, "autorestart": false,
                   "log_rotate": {{"max_size": "500K", "retain": "all"}}{more}"#,
                fixture()
            ),
        );
        home.ok(format!("start {file}"));
        home.wait_until("every writer has come to its end", || home.log("c-error.log").matches("end").count() == 3);
        // A reader may get zeros from the kernel while a rotation empties the file. Only the final
        // content matters.
        home.wait_until("every line is there once, and whole", || {
            let text = all_text(&home);
            let is_whole = |line: &str| line.contains(".") && line.len() >= 40;
            text.matches("x.").count() == 180_000 && text.lines().all(is_whole)
        });
    }
}

#[test]
fn rotation_survives_killed_daemon_and_keeper() {
    const NUMBERS: u32 = 1_500_000;
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    let mut dice = SeededRandom(0x5eed);
    count(&home, NUMBERS, r#"{"max_size": "100K", "retain": "all"}"#, "");
    let mut kills = 0;
    while !ends(&home, "c-out.log") && kills < 40 {
        // Rotations follow each other within a second, so that some kills hit a rotation.
        std::thread::sleep(std::time::Duration::from_millis(dice.below(400)));
        if dice.below(4) == 0 {
            home.kill_all_three();
            let said = home.run("resurrect");
            assert!(!home.daemons().is_empty(), "{said:?} {}", home.daemon_log());
        } else {
            home.kill_daemon();
        }
        kills += 1;
    }
    assert!(kills > 3, "only {kills}");
    home.wait_until("it was rotated", || !rotated(&home, "c-out").is_empty());
    nothing_is_lost(&home, NUMBERS);
}

/// Checks the lines after the app has written everything.
fn nothing_is_lost(home: &Home, upto: u32) {
    wait_for_last_line(home);
    home.wait_until("nothing is half done", || names_in(home.dir().join("logs")).iter().all(|name| !name.starts_with('.')));
    whole(home, "c-out.log", upto);
}

/// A large file is emptied before its writers are stopped: the lines read by then exist only in the
/// copy.
#[test]
fn rotation_of_large_file_survives_killed_daemon_and_keeper() {
    const NUMBERS: u32 = 500_000;
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    count_at(&home, &format!("{NUMBERS} 80 112"), r#"{"max_size": "24M", "retain": "all"}"#, "");
    let is_emptied = || fs::metadata(home.dir().join("logs/c-out.log")).is_ok_and(|log| log.blocks() * 512 + (4 << 20) < log.len());
    let (mut kills, mut hits) = (0, 0);
    while kills < 6 && rotated(&home, "c-out").is_empty() {
        let (keeper, daemon) = (home.keeper_pid(), home.daemon_pid());
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        // It takes some milliseconds.
        while !is_emptied() && rotated(&home, "c-out").is_empty() && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        let both = kills % 2 == 0;
        kill(daemon, Signal::STOP);
        hits += u32::from(is_emptied());
        if both {
            kill(keeper, Signal::STOP);
            kill(keeper, Signal::KILL);
        }
        kill(daemon, Signal::KILL);
        home.wait_until("it is dead", || !alive(daemon) && (!both || !alive(keeper)));
        if both {
            home.run("resurrect");
        }
        home.wait_until("another daemon runs", || home.daemons().len() == 1);
        kills += 1;
    }
    println!("{kills} kills, {hits} while it was emptied");
    nothing_is_lost(&home, NUMBERS);
}

#[test]
fn rotation_by_log_writer_survives_killed_daemon() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    let mut dice = SeededRandom(0xd1ce);
    count(&home, 900_000, r#"{"max_size": "100K", "retain": "all"}"#, r#", "log_date_format": "YYYY""#);
    for _ in 0..12 {
        std::thread::sleep(std::time::Duration::from_millis(dice.below(500)));
        home.kill_daemon();
    }
    wait_for_last_line(&home);
    home.wait_until("it was rotated", || !rotated(&home, "c-out").is_empty());
    whole(&home, "c-out.log", 900_000);
}

#[test]
fn old_files_are_compressed_and_deleted() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    count(&home, 900_000, r#"{"max_size": "100K", "retain": 2, "compress": true}"#, "");
    home.wait_until("more than that was rotated", || home.daemon_log().matches("has been deleted").count() >= 2);
    wait_for_last_line(&home);
    home.wait_until("two are left, and compressed", || {
        let names = rotated(&home, "c-out");
        // During a rotation the file is absent for an instant.
        let rest = fs::metadata(home.dir().join("logs/c-out.log")).map_or(u64::MAX, |meta| meta.len());
        names.len() == 2 && names.iter().all(|name| name.ends_with(".log.gz")) && rest < 100 << 10
    });
    for name in rotated(&home, "c-out") {
        let mut head = [0; 2];
        fs::File::open(home.dir().join("logs").join(&name)).unwrap().read_exact(&mut head).unwrap();
        assert_eq!(head, [0x1f, 0x8b], "{name}");
        let lines: Vec<u32> = text_of(&home, &name).lines().filter_map(|line| line.parse().ok()).collect();
        assert!(lines.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{name}");
    }
}

#[test]
fn total_size_bounds_all_logs_of_an_app() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    count(&home, 700_000, r#"{"max_size": "300K", "retain": "all", "total_size": "1M"}"#, "");
    // The file with the last line may also be removed if all of it exceeded the limit at once.
    home.wait_until("the oldest are gone", || home.daemon_log().contains("has been deleted"));
    home.ok("stop c");
    let size = |name: &String| fs::metadata(home.dir().join("logs").join(name)).map_or(0, |meta| meta.len());
    home.wait_until("the rest is within the bound", || rotated(&home, "c-out").iter().map(size).sum::<u64>() <= 1 << 20);
}

#[test]
fn cron_rotates_at_given_times() {
    let home = home();
    count(&home, 100, r#"{"cron": "* * * * * *", "retain": "all"}"#, r#", "kill_timeout": 100"#);
    home.wait_until("it was rotated", || !rotated(&home, "c-out").is_empty());
    wait_for_last_line(&home);
    home.wait_until("what is left too", || home.log("c-out.log").is_empty());
    whole(&home, "c-out.log", 100);
    // An empty file is not rotated.
    let count = rotated(&home, "c-out").len();
    start_fixture(&home, "other", "", "count 100000 1");
    home.wait_log("other-out.log", "00001000");
    assert_eq!(rotated(&home, "c-out").len(), count);
}

#[test]
fn log_rotate_false_disables_rotation() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    home.ok("set log_rotate:max_size 50K");
    count(&home, 300_000, "false", "");
    start_fixture(&home, "other", "--no-autorestart", "count 300000 200");
    home.wait_until("the other one was rotated", || !rotated(&home, "other-out").is_empty());
    home.wait_until("it has said everything", || home.log("c-out.log").ends_with("end\n"));
    assert_eq!(rotated(&home, "c-out"), [""; 0]);
    assert_eq!(home.log("c-out.log").lines().count(), 300_001);
}

#[test]
fn rotate_module_false_excludes_modules() {
    let home = home();
    for setting in ["log_rotate:check_interval 1", "log_rotate:max_size 50K", "pm2-logrotate:rotateModule false"] {
        home.ok(format!("set {setting}"));
    }
    home.ok("conf").says("pm2-logrotate:rotateModule false");
    count(&home, 300_000, "{}", r#", "pmx_module": true"#);
    start_fixture(&home, "other", "--no-autorestart", "count 300000 200");
    home.wait_until("the other one was rotated", || !rotated(&home, "other-out").is_empty());
    wait_for_last_line(&home);
    assert_eq!(rotated(&home, "c-out"), [""; 0]);
    // From now on they rotate like all others.
    home.ok("set pm2-logrotate:rotateModule true");
    home.wait_until("it was rotated", || !rotated(&home, "c-out").is_empty());
}

#[test]
fn max_log_size_option_enables_rotation() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    start_fixture(&home, "c", "--no-autorestart --max-log-size 100K", "count 200000 200");
    home.wait_until("it was rotated", || !rotated(&home, "c-out").is_empty());
    wait_for_last_line(&home);
    whole(&home, "c-out.log", 200_000);
    let bad = home.run(format!("start {} --name d --max-log-size plenty", fixture()));
    assert!(bad.code != 0 && bad.stderr.contains("--max-log-size"), "{}", bad.stderr);
}

#[test]
fn logs_read_past_lines_from_rotated_files() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    count(&home, 30_000, r#"{"max_size": "100K", "compress": true}"#, "");
    home.wait_until("it was rotated and compressed", || rotated(&home, "c-out").iter().any(|name| name.ends_with(".gz")));
    wait_for_last_line(&home);
    let said = home.ok("logs c --out --lines 20000 --nostream --raw").stdout;
    let numbers: Vec<u32> = said.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers.len(), 19_999, "and `end`");
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]) && numbers.last() == Some(&30_000));
    // As in PM2, `flush` affects only the logs themselves.
    let before = rotated(&home, "c-out");
    home.ok("flush c");
    assert_eq!((home.log("c-out.log").as_str(), rotated(&home, "c-out")), ("", before));
}

#[test]
fn follower_sees_every_line_once() {
    for more in ["", r#", "time": true"#] {
        let home = home();
        home.ok("set log_rotate:check_interval 1");
        count(&home, 400_000, r#"{"max_size": "100K"}"#, &format!(r#", "autostart": false{more}"#));
        sees_every_line_once(&home, 400_000, |_| {});
        assert!(!rotated(&home, "c-out").is_empty());
    }
}

#[test]
fn slow_follower_sees_every_line_once() {
    let follow = |compress: bool, more: &str| {
        let home = home();
        home.ok("set log_rotate:check_interval 1");
        let rotate = format!(r#"{{"max_size": "100K", "retain": "all", "compress": {compress}}}"#);
        count_at(&home, "160000 40", &rotate, &format!(r#", "autostart": false{more}"#));
        sees_every_line_once(&home, 160_000, |watcher| {
            kill(watcher, Signal::STOP);
            home.wait_until("it was rotated some times", || rotated(&home, "c-out").len() > 2);
            wait_for_last_line(&home);
            kill(watcher, Signal::CONT);
        });
    };
    // All run at the same time: each counts for some seconds, so that its log is rotated several
    // times.
    std::thread::scope(|scope| {
        for (compress, more) in [(false, ""), (false, r#", "time": true"#), (true, ""), (true, r#", "time": true"#)] {
            scope.spawn(move || follow(compress, more));
        }
    });
}

/// Starts the app, and calls `meanwhile` with the follower's pid when the follower has printed
/// something. The follower must print all of this many numbers.
#[track_caller]
fn sees_every_line_once(home: &Home, count: u32, meanwhile: impl FnOnce(i32)) {
    let watcher = home.cmd("logs c --out --raw --lines 0").command().stdout(std::process::Stdio::piped()).spawn();
    let mut watcher = watcher.unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(watcher.stdout.take().unwrap()));
    home.ok("start c");
    let (mut next, mut ended, mut meanwhile) = (1, false, Some(meanwhile));
    for line in lines.map_while(Result::ok) {
        if let Some(meanwhile) = meanwhile.take() {
            meanwhile(i32::try_from(watcher.id()).unwrap());
        }
        let Some(word) = line.rsplit(' ').next().filter(|word| *word != "end") else {
            ended = true;
            break;
        };
        if let Ok(number) = word.parse::<u32>() {
            assert!(number == next || next == 1, "{number} instead of {next} of {:?}", rotated(home, "c-out"));
            next = number + 1;
        }
    }
    drop(watcher.kill());
    drop(watcher.wait());
    assert!(ended && next == count + 1, "{next}");
}

#[test]
fn full_disk_deletes_only_old_logs() {
    needs_root!();
    let home = home();
    let Some(disk) = Tmpfs::mount(&home.work().join("disk"), 8 << 10) else { skip!("no file system can be mounted") };
    home.ok(["multiset", "log_rotate:check_interval 1 log_rotate:min_free 3M"].as_slice());
    let log = disk.path().join("c.log");
    let rotate = r#"{"max_size": "1M", "retain": "all"}"#;
    count(&home, 1_200_000, rotate, &format!(r#", "out_file": "{}", "merge_logs": true"#, log.display()));
    home.wait_until("old logs go", || {
        home.daemon_log().contains("deleting rotated logs") && home.daemon_log().contains("has been deleted")
    });
    home.wait_until("it has said everything", || {
        // For a moment the log has the name of the rotated file.
        fs::read_to_string(&log).unwrap_or_default().ends_with("end\n") || {
            fs::read_dir(disk.path())
                .unwrap()
                .flatten()
                .any(|entry| fs::read_to_string(entry.path()).unwrap_or_default().ends_with("end\n"))
        }
    });
    assert_eq!((home.app("c").status(), home.app("c").restarts()), ("online", 0));
    // The last rotation may run while the files are read one after the other, so the check repeats
    // until the files no longer change.
    home.wait_until("what is left has no hole and no cut line", || {
        let mut parts: Vec<Vec<u32>> = fs::read_dir(disk.path())
            .unwrap()
            .flatten()
            // The oldest file may just be removed.
            .filter_map(|entry| fs::read_to_string(entry.path()).ok())
            .map(|text| text.lines().filter_map(|line| line.parse().ok()).collect())
            .collect();
        parts.retain(|part: &Vec<u32>| !part.is_empty());
        parts.sort_by_key(|part| part[0]);
        let all: Vec<u32> = parts.concat();
        all.windows(2).all(|pair| pair[0] + 1 == pair[1]) && all.last() == Some(&1_200_000)
    });
}

#[test]
fn rotation_without_room_for_a_copy_changes_nothing() {
    needs_root!();
    let home = home();
    let Some(disk) = Tmpfs::mount(&home.work().join("disk"), 4 << 10) else { skip!("no file system can be mounted") };
    home.ok(["multiset", "log_rotate:check_interval 1 log_rotate:min_free 0"].as_slice());
    let log = disk.path().join("c.log");
    count(
        &home,
        300_000,
        r#"{"max_size": "2500K", "retain": "all"}"#,
        &format!(r#", "out_file": "{}", "merge_logs": true"#, log.display()),
    );
    home.wait_until("it is reported", || home.daemon_log().contains("c.log\" cannot be rotated"));
    home.wait_until("it has said everything", || fs::read_to_string(&log).unwrap().ends_with("end\n"));
    let numbers: Vec<u32> = fs::read_to_string(&log).unwrap().lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.iter().zip(1..).all(|(seen, wanted)| *seen == wanted) && numbers.len() == 300_000);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 1, "nothing is left over");
    assert_eq!(home.daemon_log().matches("cannot be rotated").count(), 1, "it is reported once");
}

#[test]
fn removed_log_folder_is_recreated() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    start_fixture(&home, "direct", "", "count 100000000 1");
    start_fixture(&home, "dated", "-f --time", "count 100000000 1");
    home.wait_log("dated-out.log", "00000100");
    fs::remove_dir_all(home.dir().join("logs")).unwrap();
    home.wait_log("dated-out.log", ": 0");
    let said = || home.daemon_log();
    home.wait_until("it is reported", || {
        said().contains("was removed and is recreated; direct:0 write to their removed files until their restart")
    });
    home.ok("restart direct");
    home.wait_log("direct-out.log", "00000100");
}

#[test]
fn files_that_are_not_regular_logs_are_left_alone() {
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    home.ok(["set", "log_rotate:cron", "* * * * * *"].as_slice());
    let fifo = home.work().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _reader = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let file = ecosystem(
        &home,
        &format!(
            r#""name": "c", "script": "{}", "args": "count 3000 1", "out_file": "{}", "error_file": "/dev/null", "autorestart": false"#,
            fixture(),
            fifo.display()
        ),
    );
    home.ok(format!("start {file}"));
    start_fixture(&home, "other", "", "count 3000 1");
    home.wait_until("others are rotated", || rotated(&home, "other-out").len() >= 2);
    assert!(!home.daemon_log().contains("cannot be rotated") && !home.daemon_log().contains("fifo"), "{}", home.daemon_log());
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&fs::symlink_metadata("/dev/null").unwrap().file_type()));
}

#[test]
fn a_link_of_another_user_is_not_followed() {
    needs_root!();
    let home = home();
    home.ok("set log_rotate:check_interval 1");
    let folder = home.work().join("of the app");
    fs::create_dir(&folder).unwrap();
    let (victim, log) = (home.work().join("victim"), folder.join("c.log"));
    fs::write(&victim, "precious\n".repeat(20_000)).unwrap();
    std::os::unix::fs::symlink(&victim, &log).unwrap();
    std::os::unix::fs::lchown(&log, Some(12_345), Some(12_345)).unwrap();
    std::os::unix::fs::chown(&folder, Some(12_345), Some(12_345)).unwrap();
    count(&home, 100, r#"{"max_size": "10K"}"#, &format!(r#", "out_file": "{}", "merge_logs": true"#, log.display()));
    home.wait_until("it is reported", || home.daemon_log().contains("its path is a symlink of another user"));
    assert!(fs::read_to_string(&victim).unwrap().starts_with("precious"));
}

#[test]
fn daemon_log_is_rotated() {
    let home = home();
    home.ok("set log_rotate:max_size 4K");
    home.ok("set log_rotate:retain 1");
    let own =
        || fs::read_dir(home.dir()).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("pm2__")).count();
    for round in 0..60 {
        start_fixture(&home, &format!("a{round}"), "--no-autorestart", "exit 0");
    }
    home.wait_until("it was rotated, and one is kept", || own() == 1 && home.daemon_log().contains("has been deleted"));
    assert!(fs::metadata(home.dir().join("pm2.log")).unwrap().len() < 8 << 10);
}
