//! The system's logrotate with the file that the command `logrotate` writes, on writers at full
//! speed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use ostler_testkit::{Home, Subject, fixture, names_in, needs_program, needs_root, skip};

use crate::reload_logs::assert_all_lines;
use crate::rotation::{text_of, try_text};
use crate::setup::{assert_counts_to, ecosystem, home, start_fixture, stranger_home};

/// A view of `/etc` for commands of the test, with `work/etc/logrotate.d` as its `logrotate.d`.
struct Etc<'a> {
    home: &'a Home,
}

impl<'a> Etc<'a> {
    /// Creates the view; none if mounts are not possible.
    fn new(home: &'a Home, user: Option<(&str, u32)>) -> Option<Self> {
        let etc = Self { home };
        fs::create_dir_all(home.work().join("etc/logrotate.d")).unwrap();
        for (file, more) in
            [("passwd", "x:{uid}:{uid}::/nowhere:/usr/sbin/nologin"), ("shadow", "*:19000:0:99999:7:::"), ("group", "x:{uid}:")]
        {
            let mut text = fs::read_to_string(Path::new("/etc").join(file)).unwrap();
            if let Some((name, uid)) = user {
                text += &format!("{name}:{}\n", more.replace("{uid}", &uid.to_string()));
            }
            fs::write(home.work().join("etc").join(file), text).unwrap();
        }
        etc.run(&mut Command::new("true")).status.success().then_some(etc)
    }

    fn run(&self, command: &mut Command) -> Output {
        const MOUNTS: &str =
            "cd etc && for i in passwd shadow group logrotate.d; do mount --bind $i /etc/$i || exit 99; done; cd .. && exec \"$@\"";
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "--", "sh", "-c", MOUNTS, "sh"]).arg(command.get_program()).args(command.get_args());
        inside.current_dir(self.home.work());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.output().unwrap()
    }

    /// Runs the command under test, and returns the name of the file that it writes.
    #[track_caller]
    fn write(&self, words: &str) -> String {
        let mut command = self.home.cmd(words).command();
        let output = self.run(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("use only one of the two"), "{output:?}");
        let mut files = fs::read_dir(self.home.work().join("etc/logrotate.d")).unwrap();
        files.next().unwrap().unwrap().file_name().into_string().unwrap()
    }

    /// Forces one rotation.
    #[track_caller]
    fn rotate(&self, file: &str) {
        let mut command = Command::new(ostler_testkit::program("logrotate").unwrap());
        command.args(["--force", "--state"]).arg(self.home.work().join("state")).arg(Path::new("/etc/logrotate.d").join(file));
        let output = self.run(&mut command);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{}", self.home.report());
    }
}

macro_rules! etc {
    ($home:expr, $user:expr) => {{
        needs_program!("logrotate");
        let Some(etc) = Etc::new($home, $user) else { skip!("nothing can be mounted") };
        etc
    }};
}

fn len(home: &Home, name: &str) -> u64 {
    fs::metadata(home.dir().join("logs").join(name)).map_or(0, |meta| meta.len())
}

#[test]
fn logrotate_loses_no_line() {
    needs_root!();
    let home = home();
    let etc = etc!(&home, None);
    let members = r#""name": "f", "args": "flood 600000", "instances": 3, "exec_mode": "fork", "merge_logs": true, "log_rotate": false"#;
    home.ok(format!("start {}", ecosystem(&home, &format!(r#""script": "{}", {members}"#, fixture()))));
    let file = etc.write("logrotate");
    assert_eq!(file, "ostler-root");
    let pids: Vec<i32> = home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect();
    let have_ended = || everything(&home, "f-error").matches("end").count() == 3;
    for _ in 0..3 {
        home.wait_until("the file has grown", || len(&home, "f-out.log") > 1 << 20 || have_ended());
        etc.rotate(&file);
    }
    home.wait_until("every writer has come to its end", have_ended);
    // An empty file is not rotated.
    let names = ["f-out.log.3.gz", "f-out.log.2.gz", "f-out.log.1", "f-out.log"].into_iter();
    let texts: Vec<String> = names.filter(|name| len(&home, name) > 0).map(|name| text_of(&home, name)).collect();
    assert_all_lines(&texts, 3, 600_000);
    assert!(texts.len() > 1);
    assert_eq!(home.jlist().iter().map(ostler_testkit::ListedApp::pid).collect::<Vec<_>>(), pids);
    assert_eq!(fs::metadata(home.dir().join("logs/f-out.log")).unwrap().permissions().mode() & 0o777, 0o600);
    // The daemon's own log rotates, too: the daemon writes into the new file.
    assert!(home.dir().join("pm2.log.1").exists());
    home.ok("restart f");
    home.wait_until("it says so", || fs::read_to_string(home.dir().join("pm2.log")).is_ok_and(|text| text.contains("[f:0]")));
}

/// Returns the text of a log and its rotated files. During a rotation, a file that is being
/// compressed or removed is missing.
fn everything(home: &Home, stem: &str) -> String {
    let names = names_in(home.dir().join("logs")).into_iter().filter(|name| name.starts_with(stem));
    names.filter_map(|name| try_text(home, &name)).collect()
}

#[test]
fn logrotate_and_own_rotation_lose_no_line() {
    needs_root!();
    let home = home();
    let etc = etc!(&home, None);
    home.ok(["multiset", "log_rotate:check_interval 1 log_rotate:max_size 200K log_rotate:retain all"].as_slice());
    let upto = 600_000;
    start_fixture(&home, "c", "--no-autorestart", &format!("count {upto} 60"));
    let file = etc.write("logrotate");
    let by_us = |home: &Home| crate::rotation::rotated(home, "c-out").len();
    let has_ended = |home: &Home| everything(home, "c-out").lines().any(|line| line == "end");
    for _ in 0..5 {
        let ours = by_us(&home);
        home.wait_until("ours has rotated, too", || by_us(&home) > ours || has_ended(&home));
        etc.rotate(&file);
    }
    home.wait_until("it has said everything", || has_ended(&home));
    home.wait_until("nothing is half done", || {
        fs::read_dir(home.dir().join("logs")).unwrap().flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
    });
    home.ok("delete c");
    let text = everything(&home, "c-out");
    let lines = text.lines().filter(|line| *line != "end");
    let mut numbers: Vec<u32> = lines.map(|line| line.parse().unwrap_or_else(|_| panic!("a cut line: {line:?}"))).collect();
    numbers.sort_unstable();
    assert_counts_to(&numbers, upto);
    assert!(by_us(&home) > 0 && home.dir().join("logs/c-out.log.1").exists());
    // ostler does not rotate the files that logrotate made.
    assert!(fs::read_dir(home.dir().join("logs")).unwrap().flatten().all(|entry| {
        let name = entry.file_name().into_string().unwrap();
        !(name.contains("__") && name.contains(".log."))
    }));
}

#[test]
fn logrotate_rotates_logs_of_a_user() {
    logs_of("j.doe-1", "ostler-j.doe-1");
}

#[test]
fn logrotate_handles_odd_user_name() {
    logs_of(r#"o'dd $u{er} "q"\*"#, r"ostler-o\x27dd\x20\x24u\x7ber\x7d\x20\x22q\x22\x5c\x2a");
}

#[track_caller]
fn logs_of(user: &str, file: &str) {
    needs_root!();
    const UID: u32 = 54_322;
    let base = home();
    let mut home = stranger_home(&base, UID, Subject::Ostler);
    home.set_dir(home.root().join("user").join(format!("{user} [x]")).join(".ostler"));
    fs::create_dir(home.dir().parent().unwrap()).unwrap();
    chown(home.dir().parent().unwrap(), Some(UID), Some(UID)).unwrap();
    let etc = etc!(&home, Some((user, UID)));
    home.cmd(format!("start {} --name c -- count 100000000 1", fixture())).uid(UID).run().ok();
    home.wait_log("c-out.log", "00000100");
    let parent = home.dir().parent().unwrap().to_str().unwrap().to_owned();
    let mut command = home.cmd(["logrotate", "-u", user, "--hp", &parent].as_slice()).without("OSTLER_HOME").command();
    let output = etc.run(&mut command);
    assert!(output.status.success(), "{output:?}");
    let files: Vec<_> = fs::read_dir(home.work().join("etc/logrotate.d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, [file]);
    etc.rotate(file);
    home.wait_until("new lines arrive", || len(&home, "c-out.log") > 0);
    let old = home.log("c-out.log.1");
    assert!(old.starts_with("00000001\n") && old.ends_with('\n'));
    home.wait_until("and more", || home.log("c-out.log").lines().count() > 10);
    assert_eq!(home.log("c-out.log.1"), old);
    // The rotation started no second daemon, and starts none if none runs.
    assert_eq!(home.daemons().len(), 1);
    home.cmd("kill").uid(UID).run().ok();
    etc.rotate(file);
    assert!(home.processes().is_empty());
}

#[test]
fn without_root_it_prints_the_sudo_command() {
    needs_root!();
    let base = home();
    let mut home = stranger_home(&base, 54_321, Subject::Ostler);
    home.set_dir(base.dir());
    let told = home.cmd("logrotate -u deploy --hp /home/deploy").without("OSTLER_HOME").uid(54_321).run().code(1);
    let line = told.stdout.lines().last().unwrap();
    assert!(line.starts_with("sudo env PATH=$PATH:") && line.ends_with(" logrotate -u deploy --hp /home/deploy"), "{told}");
    assert!(home.run("logrotate -u nobody-here").fails().stderr.contains("does not exist"));
}
