//! Process 1 in a container: namespaces of its own, and a root folder that holds only the program
//! and its app, like an image made `FROM scratch`. The tests need no container engine.
//!
//! `OSTLER_STATIC` and `OSTLER_STATIC_FIXTURE` name statically linked programs (`cargo xtask
//! static` builds them). Without these variables, the tests use the usual programs, with their
//! libraries beside them.

use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{Foreground, Home, can_unshare, fixture, is_root, kill, nodes, process_table, skip};
use rustix::process::Signal;

use crate::setup::{binary, home};

/// A root folder for containers.
struct Image<'a> {
    home: &'a Home,
    root: PathBuf,
}

fn path_from_env(variable: &str, usual: PathBuf) -> PathBuf {
    std::env::var_os(variable).map_or(usual, PathBuf::from)
}

/// Returns true if this machine permits namespaces for processes and mounts.
fn permitted() -> bool {
    is_root() && can_unshare(&["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"])
}

impl<'a> Image<'a> {
    /// Creates an image with `/ostler` and `/app`, and the names of PM2's program for containers.
    fn new(home: &'a Home) -> Self {
        let image = Self { home, root: home.root().join("image") };
        for folder in ["proc", "dev", "tmp", "etc", "mnt"] {
            std::fs::create_dir_all(image.root.join(folder)).unwrap();
        }
        let null = image.root.join("dev/null");
        rustix::fs::mknodat(rustix::fs::CWD, &null, rustix::fs::FileType::CharacterDevice, 0o666.into(), rustix::fs::makedev(1, 3))
            .unwrap();
        for folder in ["tmp", "dev/null"] {
            std::fs::set_permissions(image.root.join(folder), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        image.add(&path_from_env("OSTLER_STATIC", binary()), "ostler");
        image.add(&path_from_env("OSTLER_STATIC_FIXTURE", PathBuf::from(fixture())), "app");
        std::os::unix::fs::symlink("ostler", image.root.join("pm2-runtime")).unwrap();
        image
    }

    /// Adds a program and the libraries that it is linked with.
    fn add(&self, program: &Path, name: &str) {
        std::fs::copy(program, self.root.join(name)).unwrap();
        self.add_libraries(program);
    }

    fn add_libraries(&self, program: &Path) {
        let output = Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            let place = self.root.join(library.trim_start_matches('/'));
            if !place.exists() {
                std::fs::create_dir_all(place.parent().unwrap()).unwrap();
                std::fs::copy(library, place).unwrap();
            }
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.root.join(name), text).unwrap();
    }

    /// Runs these words as process 1. Before that, a shell in the mount namespace runs `prepare`
    /// (`$ROOT` is the root folder). It may set `$OPTIONS` for `unshare`.
    fn run(&self, prepare: &str, words: &[&str]) -> Foreground {
        let script = format!(
            "set -e\n{prepare}\nexec unshare --pid --fork --kill-child --mount --root=\"$ROOT\" --wd=/ --mount-proc $OPTIONS \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", &script, "sh"]).args(words);
        // Variables that an engine gives to a container, and the marker by which the test finds
        // leftover processes.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("ROOT", &self.root).env("OPTIONS", "");
        command.env(ostler_testkit::MARKER, self.home.root()).env("HOME", "/root");
        Foreground::open(command)
    }

    /// Returns the pid of the container's first process outside the container.
    fn first_pid(&self, front: &Foreground) -> i32 {
        let mut first = 0;
        self.home.wait_until("there is a process 1", || {
            let table = process_table();
            // Skips the shell's earlier processes.
            let is_ours = |line: &str| ["/ostler", "/pm2-runtime", "ostler: keeper", "PM2 v"].iter().any(|name| line.starts_with(name));
            first = table.iter().find(|p| p.ppid == front.pid() && is_ours(&p.cmdline)).map_or(0, |p| p.pid);
            first > 0
        });
        first
    }
}

#[test]
fn process_1_reaps_orphans_and_exits_with_app_code() {
    if !permitted() {
        skip!("namespaces are not permitted here");
    }
    let home = home();
    let image = Image::new(&home);
    let ended = image.run("", &["/ostler", "runtime", "/app", "--no-autorestart", "--", "exit", "7"]).end(&home);
    assert_eq!(ended.code, 7, "{:?}", ended.err);
    let ended = image.run("", &["/pm2-runtime", "start", "/app", "--no-autorestart", "--", "signal", "KILL"]).end(&home);
    assert_eq!(ended.code, 137, "{:?}", ended.err);

    let front = image.run("", &["/ostler", "runtime", "/app", "--", "orphans", "100"]);
    front.until("100 orphans");
    let first = image.first_pid(&front);
    let children = || process_table().into_iter().filter(|p| p.ppid == first).collect::<Vec<_>>();
    home.wait_until("all orphans are reaped", || children().len() == 2);
    kill(first, Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
    assert_eq!(home.processes(), []);
}

#[test]
fn commands_inside_container_find_daemon_of_process_1() {
    if !permitted() {
        skip!("namespaces are not permitted here");
    }
    let home = home();
    let image = Image::new(&home);
    image.write("apps.json", "{\"apps\": [{\"name\": \"one\", \"script\": \"/app\", \"args\": \"hold\", \"exec_interpreter\": \"none\"}]}");
    let front = image.run("", &["/pm2-runtime", "apps.json"]);
    front.err_until("App [one:0] online");
    let first = image.first_pid(&front).to_string();
    // As `docker exec` does it: the same namespaces, another program name, another home.
    let inside = |words: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &first, "--pid", "--mount", "--root", "--wd"]).args(words);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/elsewhere");
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, text) = inside(&["/ostler", "list"]);
    assert!(code == Some(0) && text.contains("one") && text.contains("online"), "{text}");
    assert_eq!(inside(&["/ostler", "health", "one"]), (Some(0), "healthy: 1 of 1 online\n".into()));
    let works = |words: &[&str]| {
        let (code, text) = inside(words);
        assert_eq!(code, Some(0), "{words:?}: {text}");
    };
    works(&["/ostler", "stop", "one"]);
    assert_eq!(inside(&["/ostler", "health", "one"]), (Some(1), "unhealthy: 0 of 1 online; one:0 stopped\n".into()));
    works(&["/ostler", "start", "one"]);
    kill(first.parse().unwrap(), Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
}

/// As OpenShift does it: an unknown user, no `HOME`, everything read-only except `/tmp`.
#[test]
fn runtime_works_with_read_only_root_and_unknown_user() {
    if !permitted() {
        skip!("namespaces are not permitted here");
    }
    let home = home();
    let image = Image::new(&home);
    let read_only = "mount --bind \"$ROOT\" \"$ROOT\"; mount -o remount,bind,ro \"$ROOT\"; unset HOME; OPTIONS='-S 54321 -G 54321'";
    let words = ["/ostler", "runtime", "/app", "--no-autorestart", "--", "exit", "3"];
    let with_tmp = format!("{read_only}; mount -t tmpfs -o mode=1777 tmpfs \"$ROOT/tmp\"");
    let ended = image.run(&with_tmp, &words).end(&home);
    assert_eq!(ended.code, 3, "{:?}", ended.err);
    let ended = image.run(read_only, &words).end(&home);
    assert!(ended.code == 1 && ended.err.len() == 1 && ended.err[0].contains("OSTLER_HOME"), "{:?}", ended.err);
}

#[test]
fn restarted_container_starts_apps_again() {
    if !permitted() {
        skip!("namespaces are not permitted here");
    }
    let home = home();
    let image = Image::new(&home);
    image.write("apps.json", "{\"apps\": [{\"name\": \"one\", \"script\": \"/app\", \"args\": \"hold\", \"exec_interpreter\": \"none\"}]}");
    let front = image.run("", &["/ostler", "runtime", "apps.json"]);
    front.err_until("App [one:0] online");
    // An engine kills a container that does not exit in time. The home still exists with its
    // content.
    kill(image.first_pid(&front), Signal::KILL);
    assert_ne!(front.end(&home).code, 0);
    image.write("apps.json", "{\"apps\": [{\"name\": \"two\", \"script\": \"/app\", \"args\": \"exit 5\", \"exec_interpreter\": \"none\", \"autorestart\": false}]}");
    let ended = image.run("", &["/ostler", "runtime", "apps.json"]).end(&home);
    assert!(ended.code == 5 && !ended.err.iter().any(|line| line.contains("[one:")), "{:?}", ended.err);
}

#[test]
fn node_runs_as_app_of_process_1() {
    if !permitted() {
        skip!("namespaces are not permitted here");
    }
    let home = home();
    for node in nodes() {
        let image = Image::new(&home);
        let real = std::fs::canonicalize(&node.path).unwrap();
        image.add_libraries(&real);
        image.write("mnt/node", "");
        image.write(
            "app.js",
            "process.on('SIGUSR2', () => console.log('got USR2'));\n\
             process.on('SIGINT', () => { console.log('bye'); process.exit(0); });\n\
             require('fs').writeSync(require('fs').openSync('/proc/1/fd/1', 'w'), 'to process 1\\n');\n\
             console.log('up'); setInterval(() => {}, 1000);\n",
        );
        image.write("ecosystem.config.js", "module.exports = { apps: [{ script: 'app.js', instances: 2, exec_mode: 'cluster' }] };\n");
        let prepare = format!("mount --bind {} \"$ROOT/mnt/node\"; PATH=/mnt:$PATH", real.display());
        let front = image.run(&prepare, &["/pm2-runtime", "ecosystem.config.js"]);
        let first = image.first_pid(&front);
        let mut seen = front.until("up");
        seen.extend(front.until("up"));
        assert_eq!(seen.iter().filter(|line| *line == "to process 1").count(), 2, "{node}: {seen:?}");
        kill(first, Signal::USR2);
        front.until("got USR2");
        front.until("got USR2");
        kill(first, Signal::TERM);
        let ended = front.end(&home);
        assert_eq!((ended.code, ended.out), (0, vec!["bye".to_owned(), "bye".to_owned()]), "{node}: {:?}", ended.err);
        std::fs::remove_dir_all(&image.root).unwrap();
    }
}

#[test]
fn the_static_program_is_static() {
    let Some(program) = std::env::var_os("OSTLER_STATIC") else { skip!("OSTLER_STATIC names no program") };
    let output = Command::new("ldd").arg(&program).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains("statically linked") || text.contains("not a dynamic executable"), "{text}");
}
