//! The user of an app attacks the paths that a root daemon opens for it: links, hard links, fifos,
//! and files swapped during the operation. `docs/security.md` has the list. All tests here need
//! root and are skipped without it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ostler_testkit::{Home, fixture, names_in, needs_program, needs_root, text_of};

use crate::setup::home;

/// A uid that owns nothing except its folder here.
const USER: u32 = 54_321;
/// Text that only root may read.
const SECRET: &str = "only root reads this\n";

/// A home of root, a folder of the user, and a folder that only root can enter.
struct AttackSetup {
    home: Home,
    /// The user's folder.
    theirs: PathBuf,
    /// Root's folder: mode 0700, with a file of mode 0600.
    roots: PathBuf,
}

impl AttackSetup {
    fn new() -> Self {
        let home = home();
        let (theirs, roots) = (home.work().join("theirs"), home.work().join("roots"));
        for (folder, mode) in [(&theirs, 0o755), (&roots, 0o700)] {
            fs::create_dir(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
        chown(&theirs, Some(USER), Some(USER)).unwrap();
        let scene = Self { home, theirs, roots };
        scene.make_secret("secret");
        scene
    }

    fn make_secret(&self, name: &str) -> PathBuf {
        let path = self.roots.join(name);
        fs::write(&path, SECRET).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Makes a link as the user would.
    fn plant(&self, name: &str, target: &Path) -> PathBuf {
        let link = self.theirs.join(name);
        drop(fs::remove_file(&link));
        symlink(target, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(USER), Some(USER)).unwrap();
        link
    }

    /// Writes a file with an app of the user.
    fn describe(&self, members: &str) -> String {
        let script = self.home.write("app.sh", "#!/bin/sh\necho from-the-app\necho from-the-app >&2\nexec sleep 1000\n");
        self.describe_script(&script, members)
    }

    fn describe_script(&self, script: &str, members: &str) -> String {
        let comma = if members.is_empty() { "" } else { ", " };
        let text = format!(
            r#"{{"apps": [{{"name": "a", "script": "{script}", "uid": "{USER}", "gid": "{USER}", "merge_logs": true{comma}{members}}}]}}"#
        );
        self.home.write("a.json", text)
    }

    /// Checks that root's files are unchanged and that no file was added.
    #[track_caller]
    fn is_untouched(&self) {
        let names = names_in(&self.roots);
        for name in &names {
            assert!(name.starts_with("secret"), "\"{name}\" was made in root's folder");
            let path = self.roots.join(name);
            assert_eq!(fs::read_to_string(&path).unwrap(), SECRET, "{name}");
            let meta = fs::metadata(path).unwrap();
            assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o600), "{name}");
        }
        assert!(names.contains(&"secret".to_owned()), "root's file was removed or renamed: {names:?}");
    }
}

fn json(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}

#[test]
fn planted_link_for_log_or_pid_file_is_not_followed() {
    needs_root!();
    for key in ["out_file", "error_file", "log_file", "pid_file"] {
        for target in ["made-by-a-link", "secret"] {
            let scene = AttackSetup::new();
            let link = scene.plant("x.txt", &scene.roots.join(target));
            let file = scene.describe(&format!(r#""{key}": {}"#, json(&link)));
            // The start may succeed or fail; only root's files matter.
            scene.home.run(format!("start {file}"));
            scene.home.run("delete a");
            scene.is_untouched();
        }
    }
}

#[test]
fn planted_link_for_folder_is_not_followed() {
    needs_root!();
    for key in ["out_file", "error_file", "log_file", "pid_file"] {
        let scene = AttackSetup::new();
        let link = scene.plant("logs", &scene.roots);
        for below in ["made.txt", "deeper/made.txt"] {
            let file = scene.describe(&format!(r#""{key}": {}"#, json(&link.join(below))));
            scene.home.run(format!("start {file}"));
            scene.home.run("delete a");
            scene.is_untouched();
        }
    }
}

#[test]
fn link_to_daemon_descriptor_is_not_followed() {
    needs_root!();
    let scene = AttackSetup::new();
    scene.home.ok("start sleep --name other -- 1000");
    let journals = |pid: i32| -> Vec<PathBuf> {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|entry| entry.path());
        fds.filter(|fd| fs::read_link(fd).is_ok_and(|name| name.to_string_lossy().contains("memfd:"))).collect()
    };
    let pid = scene.home.daemon_pid();
    let memory = journals(pid);
    assert!(!memory.is_empty(), "no journal in memory: this test looks at nothing");
    for fd in memory {
        let link = scene.plant("out.log", &Path::new("/proc/self/fd").join(fd.file_name().unwrap()));
        let file = scene.describe(&format!(r#""out_file": {}"#, json(&link)));
        scene.home.run(format!("start {file}"));
        scene.home.run("delete a");
        assert!(!text_of(&fd).contains("from-the-app"), "the journal was written to by an app");
    }
    assert_eq!(scene.home.app("other").status(), "online");
}

#[test]
fn link_planted_while_app_runs_is_not_followed() {
    needs_root!();
    // Direct log files, and the log writer's pipes.
    for more in ["", r#", "log_date_format": "YYYY", "log_file": "LOG""#] {
        let scene = AttackSetup::new();
        let (out, pid, combined) = (scene.theirs.join("out.log"), scene.theirs.join("a.pid"), scene.theirs.join("all.log"));
        let more = more.replace("\"LOG\"", &json(&combined));
        let file = scene.describe(&format!(r#""out_file": {}, "pid_file": {}{more}"#, json(&out), json(&pid)));
        scene.home.ok(format!("start {file}"));
        scene.home.wait_until("it has written", || text_of(&out).contains("from-the-app"));
        assert_eq!(fs::metadata(&out).unwrap().uid(), USER);
        for name in ["out.log", "a.pid", "all.log"] {
            scene.plant(name, &scene.roots.join("secret"));
        }
        for command in ["flush", "flush a", "reloadLogs", "restart a", "stop a", "describe a", "why a", "logs --nostream", "delete a"] {
            let told = scene.home.run(command).all();
            assert!(!told.contains(SECRET.trim()) || command.starts_with("logs"), "{command} tells what only root may know");
            scene.is_untouched();
        }
    }
}

#[test]
fn folder_swapped_while_app_runs_is_not_followed() {
    needs_root!();
    for piped in [false, true] {
        let scene = AttackSetup::new();
        let logs = scene.theirs.join("logs");
        let more = if piped { r#", "log_date_format": "YYYY""# } else { "" };
        let file = scene.describe(&format!(
            r#""out_file": {}, "error_file": "/dev/null", "pid_file": {}{more}"#,
            json(&logs.join("secret")),
            json(&logs.join("secret-pid"))
        ));
        scene.home.ok(format!("start {file}"));
        scene.home.wait_until("it has written", || text_of(logs.join("secret")).contains("from-the-app"));
        assert_eq!(fs::metadata(&logs).unwrap().uid(), USER, "a folder in the user's folder is the user's");
        scene.make_secret("secret-pid");
        fs::rename(&logs, scene.theirs.join("elsewhere")).unwrap();
        scene.plant("logs", &scene.roots);
        for command in ["flush", "reloadLogs", "restart a", "stop a", "delete a"] {
            scene.home.run(command);
            scene.is_untouched();
            assert!(scene.roots.join("secret-pid").exists(), "{command} removed a file of root's");
        }
    }
}

/// Starts an app that writes much, with this rotation.
fn start_writer(scene: &AttackSetup, out: &Path, members: &str) {
    let script = scene
        .home
        .write("writer.sh", "#!/bin/sh\nwhile :; do head -c 200000 /dev/zero | tr '\\0' x | fold -w 99; echo; sleep 0.05; done\n");
    let members = format!(r#""out_file": {}, "error_file": "/dev/null"{members}"#, json(out));
    scene.home.ok("set log_rotate:check_interval 1");
    let file = scene.describe_script(&script, &members);
    scene.home.ok(format!("start {file}"));
}

fn rotated_in(folder: &Path, end: &str) -> usize {
    names_in(folder).iter().filter(|name| name.contains("__") && name.ends_with(end)).count()
}

#[test]
fn rotation_in_user_folder_runs_with_user_rights() {
    needs_root!();
    for more in ["", r#", "log_date_format": "YYYY""#] {
        let scene = AttackSetup::new();
        let out = scene.theirs.join("out.log");
        start_writer(&scene, &out, &format!(r#", "log_rotate": {{"max_size": "300K", "compress": true, "retain": 3}}{more}"#));
        scene.home.wait_until("it was rotated and compressed", || rotated_in(&scene.theirs, ".gz") >= 2);
        for entry in fs::read_dir(&scene.theirs).unwrap() {
            // A file of a running rotation may already be removed.
            let Ok(meta) = entry.unwrap().metadata() else { continue };
            assert_eq!(meta.uid(), USER);
        }
        scene.home.ok("delete a");
        scene.is_untouched();
    }
}

#[test]
fn link_planted_before_rotation_is_not_followed() {
    needs_root!();
    for more in ["", r#", "log_date_format": "YYYY""#] {
        let scene = AttackSetup::new();
        let logs = scene.theirs.join("logs");
        let out = logs.join("secret");
        start_writer(&scene, &out, &format!(r#", "log_rotate": {{"max_size": "300K", "compress": true, "retain": 1}}{more}"#));
        scene.home.wait_until("it was rotated", || rotated_in(&logs, ".gz") >= 1);
        // Root has a large file of that name, and files whose names look like its rotated logs.
        let rotated = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<String> = rotated.filter(|name| name.contains("__") && !name.starts_with('.')).collect();
        for name in &names {
            scene.make_secret(name.strip_suffix(".gz").unwrap_or(name));
        }
        let large = SECRET.repeat(40_000);
        fs::write(scene.roots.join("secret"), &large).unwrap();
        fs::rename(&logs, scene.theirs.join("elsewhere")).unwrap();
        scene.plant("logs", &scene.roots);
        let before: Vec<_> = listing(&scene.roots);
        // The daemon checks sizes each second. After several checks, any rotation would have
        // happened.
        let log = || scene.home.daemon_log().len();
        scene.home.run("reloadLogs");
        scene.home.run("restart a");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(4);
        scene.home.wait_until("some looks have passed", || std::time::Instant::now() > until && log() > 0);
        scene.home.ok("delete a");
        assert_eq!(listing(&scene.roots), before);
        assert!(fs::read_to_string(scene.roots.join("secret")).unwrap() == large, "root's file was changed");
    }
}

/// Returns names with sizes, owners and modes.
fn listing(folder: &Path) -> Vec<(String, u64, u32, u32)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut found: Vec<_> = entries
        .map(|entry| {
            let meta = entry.metadata().unwrap();
            (entry.file_name().into_string().unwrap(), meta.len(), meta.uid(), meta.mode())
        })
        .collect();
    found.sort();
    found
}

#[test]
fn hard_links_to_root_files_are_not_written() {
    needs_root!();
    for key in ["out_file", "error_file", "log_file", "pid_file"] {
        let scene = AttackSetup::new();
        let path = scene.theirs.join("x.txt");
        // Makes the hard link as root, as if the machine had no `fs.protected_hardlinks`.
        fs::hard_link(scene.roots.join("secret"), &path).unwrap();
        let file = scene.describe(&format!(r#""{key}": {}"#, json(&path)));
        for command in [format!("start {file}").as_str(), "flush", "reloadLogs", "restart a", "delete a"] {
            scene.home.run(command);
            scene.is_untouched();
        }
    }
}

#[test]
fn fifos_do_not_block_the_daemon() {
    needs_root!();
    for key in ["out_file", "error_file", "log_file", "pid_file"] {
        let scene = AttackSetup::new();
        let path = scene.theirs.join("x.txt");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        chown(&path, Some(USER), Some(USER)).unwrap();
        let file = scene.describe(&format!(r#""{key}": {}, "error_threshold": 5"#, json(&path)));
        let mut start = scene.home.cmd(format!("start {file}")).command().spawn().unwrap();
        scene.home.wait_until("the daemon answers", || scene.home.run("ping").all().contains("pong"));
        scene.home.wait_until("start has returned", || start.try_wait().unwrap().is_some());
        for command in ["flush", "reloadLogs", "describe a", "why a", "logs --nostream --lines 5", "restart a", "delete a"] {
            scene.home.run(command);
        }
        assert!(scene.home.jlist().is_empty());
    }
}

#[test]
fn secret_is_not_read_through_user_link() {
    needs_root!();
    let scene = AttackSetup::new();
    let link = scene.plant("token", &scene.roots.join("secret"));
    let seen = scene.theirs.join("seen");
    let script = scene.home.write("tell.sh", format!("#!/bin/sh\necho \"$TOKEN\" > {}\nexec sleep 1000\n", seen.display()));
    let file = scene.describe_script(&script, &format!(r#""secrets": {{"TOKEN": {}}}, "max_restarts": 1"#, json(&link)));
    scene.home.run(format!("start {file}")).fails();
    assert!(!text_of(&seen).contains(SECRET.trim()));
    // If root names the same file, the daemon reads it for the app.
    let file = scene.describe_script(&script, &format!(r#""secrets": {{"TOKEN": {}}}"#, json(&scene.roots.join("secret"))));
    scene.home.run("delete a");
    scene.home.ok(format!("start {file}"));
    scene.home.wait_until("it has the value", || text_of(&seen) == SECRET);
}

#[test]
fn links_owned_by_root_are_followed() {
    needs_root!();
    let scene = AttackSetup::new();
    let root = scene.home.root().to_owned();
    // `/var/log/app -> /data/log`: a link of root's, first to a folder of root's, then to a folder
    // of the user's.
    let data = root.join("data");
    fs::create_dir_all(data.join("log")).unwrap();
    symlink("../data/log", root.join("bin/app-logs")).unwrap();
    symlink(&scene.theirs, root.join("bin/users-logs")).unwrap();
    let (roots, users) = (root.join("bin/app-logs/out.log"), root.join("bin/users-logs/error.log"));
    symlink("../data/pid", root.join("bin/pids")).unwrap();
    fs::create_dir(data.join("pid")).unwrap();
    let pid = root.join("bin/pids/a.pid");
    let file = scene.describe(&format!(r#""out_file": {}, "error_file": {}, "pid_file": {}"#, json(&roots), json(&users), json(&pid)));
    scene.home.ok(format!("start {file}"));
    scene.home.wait_until("both logs are written", || {
        text_of(data.join("log/out.log")).contains("from-the-app") && text_of(scene.theirs.join("error.log")).contains("from")
    });
    assert_eq!(fs::metadata(data.join("log/out.log")).unwrap().uid(), 0);
    assert_eq!(fs::metadata(scene.theirs.join("error.log")).unwrap().uid(), USER);
    let item = scene.home.app("a");
    let name = format!("a-{}.pid", item.id());
    assert_eq!(text_of(data.join("pid").join(name)), item.pid().to_string());
    // After a rename, the logs are created again at their paths.
    for log in [data.join("log/out.log"), scene.theirs.join("error.log")] {
        fs::rename(&log, log.with_extension("old")).unwrap();
    }
    scene.home.ok("reloadLogs");
    assert!(data.join("log/out.log").exists() && scene.theirs.join("error.log").exists());
    scene.home.ok("flush a");
    scene.home.ok("delete a");
    assert!(fs::read_dir(data.join("pid")).unwrap().next().is_none());
}

#[test]
fn log_made_by_root_in_user_folder_is_renamed() {
    needs_root!();
    for (more, line) in [("", "from-the-app\n"), (r#", "log_date_format": "[D]""#, "D: from-the-app\n")] {
        let scene = AttackSetup::new();
        // Files as PM2 run by root leaves them.
        let (out, pid) = (scene.theirs.join("out.log"), scene.theirs.join("a-0.pid"));
        for path in [&out, &pid] {
            fs::write(path, "from PM2's time\n").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
        }
        let file = scene.describe(&format!(r#""out_file": {}, "pid_file": {}{more}"#, json(&out), json(&scene.theirs.join("a.pid"))));
        scene.home.ok(format!("start {file}"));
        scene.home.wait_until("it writes", || text_of(&out) == line);
        assert_eq!(text_of(scene.theirs.join("out.log.root-owned")), "from PM2's time\n");
        assert_eq!(text_of(&pid), scene.home.app("a").pid().to_string());
        let log = scene.home.daemon_log();
        assert!(log.contains("out.log.root-owned"), "{log}");
    }
}

#[test]
fn start_suggests_chown_for_unwritable_log_folder() {
    needs_root!();
    let scene = AttackSetup::new();
    let logs = scene.theirs.join("logs");
    fs::create_dir(&logs).unwrap();
    let file = scene.describe(&format!(r#""out_file": {}"#, json(&logs.join("out.log"))));
    let told = scene.home.run(format!("start {file}")).fails();
    assert!(told.all().contains("out.log") && told.all().contains(&format!("chown {USER}")), "{told}");
}

fn socket_description(scene: &AttackSetup, path: &Path) -> String {
    // A path from which that user can execute the program.
    let program = scene.home.root().join("bin/fixture");
    if !program.exists() {
        fs::copy(fixture(), &program).unwrap();
    }
    let listen = format!(r#""args": "activated blocking", "listen": [{{"path": {}, "mode": "0666"}}]"#, json(path));
    scene.describe_script(program.to_str().unwrap(), &listen)
}

#[test]
fn socket_is_not_created_through_user_link() {
    needs_root!();
    let scene = AttackSetup::new();
    let folder = scene.plant("run", &scene.roots);
    scene.home.run(format!("start {}", socket_description(&scene, &folder.join("a.sock")))).fails();
    scene.is_untouched();
    // No file is removed, either.
    scene.home.run("delete a");
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(USER), Some(USER)).unwrap();
    scene.home.ok(format!("start {}", socket_description(&scene, &folder.join("secret.sock"))));
    let meta = fs::metadata(folder.join("secret.sock")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (USER, USER, 0o666));
    fs::rename(&folder, scene.theirs.join("elsewhere")).unwrap();
    drop(UnixListener::bind(scene.roots.join("secret.sock")).unwrap());
    scene.plant("run", &scene.roots);
    scene.home.ok("delete a");
    assert!(fs::symlink_metadata(scene.roots.join("secret.sock")).is_ok_and(|meta| meta.file_type().is_socket()));
}

#[test]
fn socket_in_root_folder_is_owned_by_app_user() {
    needs_root!();
    let scene = AttackSetup::new();
    let path = scene.home.root().join("bin/a.sock");
    scene.home.ok(format!("start {}", socket_description(&scene, &path)));
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (USER, USER, 0o666));
    scene.home.ok("delete a");
    assert!(!path.exists());
}

/// Replaces a new socket by a link to root's file, as fast as it can, while it calls `turn`
/// repeatedly.
fn race_with_link(scene: &AttackSetup, socket: &Path, mut turn: impl FnMut()) {
    let stop = std::sync::atomic::AtomicBool::new(false);
    let victim = scene.roots.join("secret");
    let hurry = scene.theirs.join("hurry");
    symlink(&victim, &hurry).unwrap();
    std::thread::scope(|scope| {
        let racing = || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // As soon as the socket exists, this replaces it by a link to a file that only root
                // may change.
                if fs::symlink_metadata(socket).is_ok_and(|meta| meta.file_type().is_socket()) && fs::rename(&hurry, socket).is_ok() {
                    drop(symlink(&victim, &hurry));
                }
            }
        };
        for _ in 0..2 {
            scope.spawn(racing);
        }
        for _ in 0..40 {
            turn();
            let meta = fs::metadata(&victim).unwrap();
            if (meta.uid(), meta.gid(), meta.mode() & 0o7777) != (0, 0, 0o600) {
                break;
            }
            drop(fs::remove_file(socket));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    scene.is_untouched();
}

#[test]
fn file_swapped_for_declared_socket_stays_owned_by_root() {
    needs_root!();
    let scene = AttackSetup::new();
    let socket = scene.theirs.join("a.sock");
    let file = socket_description(&scene, &socket);
    race_with_link(&scene, &socket, || {
        scene.home.run(format!("start {file}"));
        scene.home.run("delete a");
    });
}

#[test]
fn file_swapped_for_worker_socket_stays_owned_by_root() {
    needs_root!();
    needs_program!("node");
    let scene = AttackSetup::new();
    let socket = scene.theirs.join("w.sock");
    let code = format!(
        "const s = require('net').createServer();\ns.on('error', () => {{}});\ns.listen({});\nsetInterval(() => {{}}, 1 << 30);\n",
        json(&socket)
    );
    let script = scene.home.write("w.js", code);
    let file = scene.describe_script(&script, r#""exec_mode": "cluster", "instances": 1, "listen_timeout": 500, "kill_timeout": 500"#);
    race_with_link(&scene, &socket, || {
        scene.home.run(format!("start {file}"));
        scene.home.wait_until("there is a socket, or what replaced it", || fs::symlink_metadata(&socket).is_ok());
        scene.home.run("delete a");
    });
}

/// Starts a cluster worker of the user that tries to listen there, and returns the worker's output.
fn worker(scene: &AttackSetup, asks: &str, members: &str) -> String {
    let code = format!(
        "const s = require('net').createServer((c) => c.end('served'));\ns.on('error', (error) => console.log('told ' + error.code));\n\
         s.listen({asks}, () => console.log('told listening'));\nsetInterval(() => {{}}, 1 << 30);\n"
    );
    let script = scene.home.write("worker.js", code);
    let file = scene.describe_script(&script, &format!(r#""exec_mode": "cluster", "instances": 1{members}"#));
    scene.home.run(format!("start {file}"));
    let said = || text_of(scene.home.dir().join("logs/a-out.log"));
    scene.home.wait_until("the worker was told", || said().contains("told "));
    said()
}

#[test]
fn worker_listens_only_where_its_user_may() {
    needs_root!();
    needs_program!("node");
    let scene = AttackSetup::new();
    let log = || scene.home.daemon_log();
    let told = worker(&scene, &json(&scene.roots.join("w.sock")), "");
    assert!(told.contains("EACCES"), "{}", told);
    scene.is_untouched();
    assert!(log().contains(r#"declare it in "listen""#), "{}", log());
    scene.home.ok("delete a");
    scene.home.ok("flush");
    fs::remove_file(scene.home.dir().join("logs/a-out.log")).unwrap();
    // The worker may listen in its own folder.
    let path = scene.theirs.join("w.sock");
    let told = worker(&scene, &json(&path), "");
    assert!(told.contains("listening"), "{}", told);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (USER, USER));
    scene.home.ok("delete a");
    assert!(!path.exists());
}

#[test]
fn worker_gets_privileged_port_only_if_declared() {
    needs_root!();
    needs_program!("node");
    let limit = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if limit.trim().parse::<u16>().is_ok_and(|first| first <= 99) {
        ostler_testkit::skip!("every port is free to everybody here");
    }
    for scheduling in ["", r#", "scheduling": "reuseport""#] {
        let scene = AttackSetup::new();
        let port = (90..100).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("no port below 100 is free");
        let asks = format!("{port}, '127.0.0.1'");
        let told = worker(&scene, &asks, scheduling);
        assert!(told.contains("EACCES"), "{}", told);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        let log = scene.home.daemon_log();
        assert!(log.contains(&format!("may not listen on port {port}")) && log.contains(r#"declare it in "listen""#), "{log}");
        scene.home.ok("delete a");
        fs::remove_file(scene.home.dir().join("logs/a-out.log")).unwrap();
        let told = worker(&scene, &asks, &format!(r#", "listen": [{{"port": {port}, "host": "127.0.0.1"}}]{scheduling}"#));
        assert!(told.contains("listening"), "{}", told);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::net::TcpStream::connect(("127.0.0.1", port)).unwrap(), &mut text).unwrap();
        assert_eq!(text, "served");
    }
}

#[test]
fn logs_command_does_not_follow_user_link() {
    needs_root!();
    let scene = AttackSetup::new();
    let logs = |name: &str| scene.theirs.join(name).display().to_string();
    let file = scene.describe(&format!(r#""out_file": "{}", "error_file": "{}""#, logs("out.log"), logs("deep/error.log")));
    scene.home.ok(format!("start {file}"));
    scene.home.wait_until("the app has written", || fs::read_to_string(logs("deep/error.log")).is_ok_and(|text| !text.is_empty()));
    scene.plant("out.log", &scene.roots.join("secret"));
    // A folder on the path, and a name as rotation creates it.
    fs::rename(scene.theirs.join("deep"), scene.theirs.join("former")).unwrap();
    scene.plant("deep", &scene.roots);
    fs::copy(scene.roots.join("secret"), scene.roots.join("secret-error.log")).unwrap();
    fs::rename(scene.roots.join("secret-error.log"), scene.roots.join("error.log")).unwrap();
    scene.plant("out__2026-11-21_02-06-01.log", &scene.roots.join("secret"));
    for command in
        ["logs --nostream", "logs a --nostream --raw", "logs a --err --nostream", "logs --grep only --nostream", "why a", "describe a"]
    {
        scene.home.run(command).never_says(SECRET.trim());
    }
    scene.home.ok("delete all");
}

#[test]
fn logs_command_shows_user_log_in_root_folder() {
    needs_root!();
    let scene = AttackSetup::new();
    let log = scene.roots.join("secret-out.log").display().to_string();
    let file = scene.describe(&format!(r#""out_file": "{log}""#));
    scene.home.ok(format!("start {file}"));
    scene.home.wait_until("the app has written", || fs::read_to_string(&log).is_ok_and(|text| text.contains("from-the-app")));
    scene.home.ok("logs a --nostream").says("from-the-app");
}
