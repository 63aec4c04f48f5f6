//! `deploy` with a real sshd on loopback, real git, and the tested program on the remote side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ostler_testkit::{Cmd, Home, KilledOnDrop, MARKER, fixture, free_port, is_root, kill, sh};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::setup::{binary, home};

/// Path of sshd: it must be called by its full path, often in an administrator's folder.
pub fn sshd_program() -> Option<PathBuf> {
    ostler_testkit::program("sshd").or_else(|| Some(PathBuf::from("/usr/sbin/sshd")).filter(|path| path.exists()))
}

/// Key exchange of the connections. OpenSSH's first choice resists quantum computers and costs each
/// side of a connection a sixth of a second of CPU time, ten times as much as this one.
const KEY_EXCHANGE: &str = "curve25519-sha256";

/// A host with sshd, a repository, and a project to deploy from.
pub struct Host<'a> {
    home: &'a Home,
    pub port: u16,
    sshd: KilledOnDrop,
}

macro_rules! host {
    ($home:expr) => {{
        if $crate::deploy::sshd_program().is_none() || ostler_testkit::program("ssh").is_none() || ostler_testkit::program("git").is_none()
        {
            assert!(!ostler_testkit::on_ci(), "sshd, ssh or git is not installed, and on CI it has to be");
            ostler_testkit::skip!("sshd, ssh or git is not installed");
        }
        $crate::deploy::Host::new($home)
    }};
}
pub(crate) use host;

impl<'a> Host<'a> {
    pub fn new(home: &'a Home) -> Self {
        let dir = home.root().join("ssh");
        fs::create_dir_all(&dir).unwrap();
        for key in ["host", "id"] {
            sh(&dir, &format!("ssh-keygen -q -t ed25519 -N '' -f {key}"));
        }
        fs::copy(dir.join("id.pub"), dir.join("authorized_keys")).unwrap();
        if is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        // Remote sessions find `ostler` on `PATH`: the program under test.
        let bin = home.root().join("remote-bin");
        fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink(binary(), bin.join("ostler")).unwrap();
        let port = free_port();
        let d = dir.display();
        let far = home.root().join("far");
        fs::create_dir_all(&far).unwrap();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {d}/host\nAuthorizedKeysFile {d}/authorized_keys\nPidFile none\nPasswordAuthentication no\n\
             StrictModes no\nPermitRootLogin prohibit-password\nMaxStartups 100\nKexAlgorithms {KEY_EXCHANGE}\n\
             SetEnv HOME={} OSTLER_HOME={} {MARKER}={} PATH={}:/usr/local/bin:/usr/bin:/bin OSTLER_CGROUP=off OSTLER_START_WATCH=0\n",
            far.display(),
            home.dir().display(),
            home.root().display(),
            bin.display(),
        );
        fs::write(dir.join("config"), config).unwrap();
        let sshd = sshd(&dir);
        let host = Self { home, port, sshd };
        host.wait_listens();
        host
    }

    /// Returns the words by which `ssh` runs a command on the host, on a terminal of its own.
    pub fn ssh(&self) -> String {
        let dir = self.home.root().join("ssh");
        let options = "-o StrictHostKeyChecking=no -o BatchMode=yes -o LogLevel=ERROR";
        format!("ssh -tt -F none {options} -o UserKnownHostsFile={d}/known -i {d}/id -p {} 127.0.0.1", self.port, d = dir.display())
    }

    fn wait_listens(&self) {
        self.home.wait_until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Kills sshd and every connection to it, as a cut cable and a restart would.
    pub fn cut_connections(&mut self) {
        let mine = |pid: i32| {
            let cmdline = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            cmdline.starts_with("sshd: ") || cmdline.contains("sshd")
        };
        let parent = self.sshd.pid();
        let table = ostler_testkit::process_table();
        let mut family = vec![parent];
        for _ in 0..3 {
            let more: Vec<i32> =
                table.iter().filter(|p| family.contains(&p.ppid) && !family.contains(&p.pid) && mine(p.pid)).map(|p| p.pid).collect();
            family.extend(more);
        }
        family.iter().for_each(|pid| kill(*pid, Signal::KILL));
        drop(self.sshd.wait());
    }

    pub fn restart_sshd(&mut self) {
        self.sshd = sshd(&self.home.root().join("ssh"));
        self.wait_listens();
    }

    /// Returns the folder on the host.
    fn path(&self, name: &str) -> PathBuf {
        self.home.root().join("srv").join(name)
    }

    fn deploys(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name).join(".deploys")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Commits and pushes a project with this app. `members` override the usual members of the
    /// environment `p`.
    fn project(&self, apps: Value, members: Value) {
        let (root, dir) = (self.home.root().display(), self.home.root().join("ssh"));
        let d = dir.display();
        let mut all = json!({
            "user": String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim(),
            "host": "127.0.0.1", "port": self.port, "key": format!("{d}/id"),
            "ssh_options": ["StrictHostKeyChecking=no", format!("UserKnownHostsFile={d}/known"), "BatchMode=yes", "LogLevel=ERROR"],
            "repo": format!("{root}/repo.git"), "path": format!("{root}/srv/app"), "ref": "origin/master",
        });
        for (key, value) in members.as_object().unwrap() {
            all[key] = value.clone();
        }
        let config = json!({"apps": apps, "deploy": {"p": all}});
        self.home.write("ecosystem.json", serde_json::to_string_pretty(&config).unwrap());
        let work = self.home.work();
        if !work.join(".git").exists() {
            sh(&work, "git init -q -b master . && git init -q --bare -b master ../repo.git && git remote add origin ../repo.git");
        }
        self.commit("release", "1");
    }

    /// Commits a file, pushes, and returns the commit.
    fn commit(&self, file: &str, text: &str) -> String {
        self.home.write(file, text);
        sh(
            self.home.work(),
            "git add -A && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m x && git push -q -u origin master 2>&1",
        );
        sh(self.home.work(), "git rev-parse HEAD")
    }

    fn deploy(&self, words: &str) -> Cmd<'_> {
        self.home.cmd(format!("deploy p {words}"))
    }
}

fn sshd(dir: &Path) -> KilledOnDrop {
    let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let child = Command::new(sshd_program().unwrap())
        .arg("-f")
        .arg(dir.join("config"))
        .args(["-D", "-e"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    KilledOnDrop(child.unwrap())
}

#[test]
fn setup_update_and_revert_work() {
    let home = home();
    let host = host!(&home);
    let app = host.path("app");
    let far = home.root().join("far");
    host.project(
        json!([]),
        json!({
            "env": {"color": "it's $HOME"},
            "pre-setup": "echo PRE-SETUP $PWD", "post-setup": "echo POST-SETUP $PWD",
            "pre-deploy-local": "echo LOCAL $PWD", "pre-deploy": "echo PRE-DEPLOY $PWD",
            "post-deploy": ["echo POST-DEPLOY $PWD $(cat release)", "echo \"it is '$COLOR' ${BASH_VERSION:+bash}\""],
        }),
    );
    // Nothing has been set up yet.
    host.deploy("update").run().fails().says("run setup first");
    let output = host.deploy("setup").run().ok().says(&format!("PRE-SETUP {}", far.display())).says("setup complete").says("--> Success");
    output.says(&format!("POST-SETUP {}", app.join("current").display()));
    assert_eq!(fs::read_link(app.join("current")).unwrap(), app.join("source"));
    for folder in ["shared/logs", "shared/pids", "source/.git"] {
        assert!(app.join(folder).is_dir(), "{folder}");
    }
    // A second setup does no harm.
    host.deploy("setup").run().ok().says("cloned already");

    let first = sh(home.work(), "git rev-parse HEAD");
    let output = host.deploy("").run().ok().says("--> Deploying to p environment").says("--> on host 127.0.0.1");
    let current = app.join("current").display().to_string();
    let output = output.says(&format!("LOCAL {}", home.work().display())).says(&format!("PRE-DEPLOY {current}"));
    output
        .says(&format!("POST-DEPLOY {current} 1"))
        .says("it is 'it's $HOME' bash")
        .says("successfully deployed origin/master")
        .says("--> Success");
    assert_eq!(host.deploys("app").join(" "), first);

    let second = host.commit("release", "2");
    host.deploy("update").run().ok().says(&format!("POST-DEPLOY {current} 2"));
    assert_eq!(host.deploys("app"), [first.clone(), second.clone()]);
    host.deploy("curr").run().ok().says(&second[..7]);
    host.deploy("prev").run().ok().says(&first);
    host.deploy("list").run().ok().says(&format!("0\t{second}\n1\t{first}"));
    host.deploy("exec pwd").run().ok().says(&current);
    home.cmd(["deploy", "p", "exec", "echo \"$0'\" | tr a-z A-Z; exit 3"].as_slice()).run().code(1).says("BASH'").says("exit code 3");

    host.deploy("revert 2").run().fails().says("not that many");
    host.deploy("revert").run().ok().says("reverting 1").says(&format!("POST-DEPLOY {current} 1"));
    assert_eq!(host.deploys("app"), [first.clone(), second.clone(), first.clone()]);
    host.deploy("ref master").run().ok().says(&format!("POST-DEPLOY {current} 2"));
    host.deploy("ref nosuch").run().fails().says("has no nosuch");
    host.deploy("ref --upload-pack=x").run().fails();
    assert_eq!(host.deploys("app").len(), 4);
    assert!(!far.join("app").exists());
}

#[test]
fn uncommitted_or_unpushed_changes_are_rejected() {
    let home = home();
    let host = host!(&home);
    host.project(json!([]), json!({"post-deploy": "true"}));
    host.deploy("setup").run().ok();
    home.write("release", "not committed");
    host.deploy("").run().fails().says("commit or stash your changes");
    host.deploy("--force").run().ok();
    sh(home.work(), "git -c user.name=t -c user.email=t@t commit -qam local");
    host.deploy("").run().fails().says("push your changes");
    assert_eq!(host.deploys("app").len(), 1);
    // `curr` only reads the host, so local changes do not matter.
    host.deploy("curr").run().ok();
    home.run("deploy q").fails().says("q environment is not defined in ecosystem.json file").says("(defined: p)");
    home.run("deploy nosuch.json p").fails();
    host.deploy("nosuch").run().fails().says("unknown command");
}

#[test]
fn needs_tty_allocates_a_terminal() {
    let home = home();
    let host = host!(&home);
    let hook = "if test -t 1; then echo A-TERMINAL $(cat release); else echo NO-TERMINAL; fi";
    host.project(json!([]), json!({"needs_tty": true, "post-deploy": hook}));
    host.deploy("setup").run().ok();
    host.deploy("").run().ok().says("A-TERMINAL 1");
    home.cmd(["deploy", "p", "exec", "test -t 0 && echo WITH-INPUT; exit 3"].as_slice()).run().code(1).says("WITH-INPUT");
    host.project(json!([]), json!({"post-deploy": hook}));
    host.deploy("").run().ok().says("NO-TERMINAL");
    assert_eq!(host.deploys("app").len(), 2);
}

#[test]
fn unreachable_host_fails_with_a_reason() {
    let home = home();
    let mut host = host!(&home);
    host.project(json!([]), json!({"post-deploy": "true"}));
    host.cut_connections();
    for words in ["setup", "update", "curr"] {
        host.deploy(words).run().code(1).says("Connection refused").says("no connection").says("Deploy failed");
    }
    host.restart_sshd();
    // The host answers, but accepts no key.
    fs::write(home.root().join("ssh/authorized_keys"), "").unwrap();
    host.deploy("setup").run().code(1).says("Permission denied").says("no connection");
}

/// Returns an app of this project.
fn app(what: &str) -> Value {
    json!([{"name": "api", "script": fixture(), "args": what, "max_restarts": 2, "restart_delay": 1}])
}

/// Deploys a good release, a bad release, and a good release again. `starts`: the hook starts the
/// app.
fn rolls_back(hook: Option<&str>, starts: bool, why: &str) {
    let home = home();
    let host = host!(&home);
    let members = hook.map_or(json!({}), |hook| json!({"post-deploy": hook}));
    host.project(app("hold"), members.clone());
    host.deploy("setup").run().ok();
    let output = host.deploy("").run().ok();
    if starts {
        output.says("waiting until healthy: api").says("healthy: 1 of 1 online");
    }
    let good = host.deploys("app");

    home.write("bad", "");
    host.project(app("exit 3"), members.clone());
    host.deploy("").run().code(5).says(why).says(&format!("restoring {}", good[0])).says("the previous release was restored");
    assert_eq!(host.deploys("app"), good);
    assert_eq!(sh(host.path("app").join("source"), "git rev-parse HEAD"), good[0]);
    if starts {
        home.wait_status("api", "online");
    }

    // The next good release deploys normally.
    fs::remove_file(home.work().join("bad")).unwrap();
    host.project(app("hold"), members);
    host.deploy("").run().ok();
    assert_eq!(host.deploys("app").len(), 2);
}

#[test]
fn default_hook_failure_rolls_back() {
    rolls_back(None, true, "");
}

#[test]
fn unhealthy_apps_roll_back() {
    rolls_back(Some("ostler startOrRestart ecosystem.json || true"), true, "the new release is not healthy");
}

#[test]
fn failed_hook_rolls_back() {
    rolls_back(Some("[ ! -e bad ]"), false, "post-deploy hook failed");
}

#[test]
fn failed_first_deploy_has_no_release_to_roll_back_to() {
    let home = home();
    let host = host!(&home);
    host.project(json!([]), json!({"post-deploy": "exit 7"}));
    host.deploy("setup").run().ok();
    host.deploy("").run().code(1).says("post-deploy hook failed").says("there is no previous release").says("Deploy failed");
    assert!(host.deploys("app").is_empty());
    // A hook that fails before anything changes.
    host.project(json!([]), json!({"pre-deploy": "exit 7"}));
    host.deploy("").run().code(1).says("pre-deploy hook failed; nothing was changed");
    host.project(json!([]), json!({"pre-deploy-local": "exit 7", "pre-deploy": "touch ../reached"}));
    host.deploy("").run().code(1).says("no host was touched");
    assert!(!host.path("app").join("reached").exists());
}

#[test]
fn several_hosts_are_deployed_in_parallel() {
    let home = home();
    let host = host!(&home);
    // Each of the two hosts waits for the other, so they must be deployed at the same time. The
    // third host does not answer.
    let nobody = free_port();
    host.project(
        json!([]),
        json!({
            "host": [{"host": "127.0.0.1"}, {"host": "localhost"}],
            "path": "deployed/app",
            "pre-setup": format!(
                "touch {0}/at-$([ -n \"$SSH_CONNECTION\" ] && echo far || echo near); until [ -e {0}/at-far ] && [ -e {0}/at-near ]; do sleep 0.05; done; echo both",
                home.root().display()
            ),
            "post-deploy": "echo deployed to $HOME",
        }),
    );
    let output =
        host.deploy("setup").run().ok().says("--> on hosts 127.0.0.1, localhost").says("[127.0.0.1] both").says("[localhost] both");
    assert_eq!(output.all().matches("--> Success").count(), 1);
    host.deploy("")
        .run()
        .ok()
        .says(&format!("[127.0.0.1] deployed to {}/far", home.root().display()))
        .says(&format!("[localhost] deployed to {}/user", home.root().display()));
    let path = |user: &str| home.root().join(user).join("deployed/app/.deploys");
    assert_eq!(fs::read_to_string(path("far")).unwrap(), fs::read_to_string(path("user")).unwrap());
    host.deploy("exec pwd").run().ok().says("[127.0.0.1] /").says("[localhost] /");
    // One failing host makes the command fail; the other host is deployed.
    host.project(
        json!([]),
        json!({"host": [{"host": "127.0.0.1"}, {"host": "127.0.0.2", "port": nobody}], "path": "deployed/app", "post-deploy": "true"}),
    );
    let output =
        host.deploy("").run().code(1).says("[127.0.0.1]   ○ successfully deployed").says("127.0.0.2: no connection; nothing was changed");
    output.never_says("Success");
    assert_eq!(fs::read_to_string(path("far")).unwrap().lines().count(), 2);
}

/// Deploys with a post-deploy hook that prints `before`, waits for `go` and prints `after`. The
/// deploy command runs in the background.
fn start_waiting_deployment(host: &Host<'_>) -> (PathBuf, Child) {
    let root = host.home.root();
    let (here, go) = (root.join("here"), root.join("go"));
    let hook = format!("echo before; touch {}; until [ -e {} ]; do sleep 0.05; done; echo after", here.display(), go.display());
    host.project(json!([]), json!({ "post-deploy": hook }));
    host.deploy("setup").run().ok();
    let (said, file) = (root.join("said"), fs::File::create(root.join("said")).unwrap());
    let child = host.deploy("").command().stdin(Stdio::null()).stdout(file).stderr(Stdio::piped()).spawn().unwrap();
    host.home.wait_until("its words have arrived", || fs::read_to_string(&said).unwrap().contains("\nbefore\n"));
    (go, child)
}

#[test]
fn lost_connection_does_not_interrupt_deployment() {
    let home = home();
    let mut host = host!(&home);
    let (go, child) = start_waiting_deployment(&host);
    host.cut_connections();
    fs::write(go, "").unwrap();
    home.wait_until("it is done without us", || host.deploys("app").len() == 1);
    host.restart_sshd();
    let output = child.wait_with_output().unwrap();
    let said = fs::read_to_string(home.root().join("said")).unwrap();
    assert!(output.status.success() && said.contains("connection lost"), "{output:?}");
    // Each line was printed once, in order.
    let lines: Vec<&str> =
        said.lines().map(str::trim).filter(|line| matches!(*line, "before" | "after" | "○ fetching updates" | "--> Success")).collect();
    assert_eq!(lines, ["○ fetching updates", "before", "after", "--> Success"], "{said}");
}

#[test]
fn same_command_follows_running_deployment() {
    let home = home();
    let host = host!(&home);
    let (go, mut child) = start_waiting_deployment(&host);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut same = host.deploy("").command();
    let same = same.stdin(Stdio::null()).stdout(fs::File::create(home.root().join("same")).unwrap()).stderr(Stdio::null()).spawn().unwrap();
    let mut other = host.deploy("ref master").command();
    let other =
        other.stdin(Stdio::null()).stdout(fs::File::create(home.root().join("other")).unwrap()).stderr(Stdio::piped()).spawn().unwrap();
    let says = |file: &str, text: &str| fs::read_to_string(home.root().join(file)).unwrap().contains(text);
    for file in ["same", "other"] {
        home.wait_until("both follow it", || says(file, "is already running here") && says(file, "before"));
    }
    fs::write(go, "").unwrap();
    assert!(same.wait_with_output().unwrap().status.success() && says("same", "after") && says("same", "--> Success"));
    let other = other.wait_with_output().unwrap();
    assert!(
        other.status.code() == Some(1) && String::from_utf8_lossy(&other.stderr).contains("this deployment was not started"),
        "{other:?}"
    );
    assert_eq!(host.deploys("app").len(), 1);
}

#[test]
fn killed_deployment_can_be_repeated() {
    let home = home();
    let host = host!(&home);
    let (go, child) = start_waiting_deployment(&host);
    let runs = home.root().join("far/.ostler-deploy");
    let pid = sh(&runs, "cat */*/pid").parse().unwrap();
    kill(pid, Signal::KILL);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).contains("killed on the host"), "{output:?}");
    assert!(host.deploys("app").is_empty());
    // git leaves this file behind when it is killed.
    fs::write(host.path("app").join("source/.git/index.lock"), "").unwrap();
    fs::write(go, "").unwrap();
    host.deploy("").run().ok().says("after");
    assert_eq!(host.deploys("app").len(), 1);
    // An interrupted clone does not count as a clone.
    fs::remove_dir_all(host.path("app").join("source")).unwrap();
    fs::create_dir_all(host.path("app").join("source.part/.git")).unwrap();
    host.deploy("setup").run().ok().says("cloning").says("setup complete");
    host.deploy("").run().ok();
    // The host keeps only the last run.
    assert_eq!(sh(&runs, "ls -d */*/").lines().count(), 1);
}

/// A push from the clone would otherwise add one branch's commits to another.
#[test]
fn a_deployment_moves_no_other_branch_of_the_clone() {
    let home = home();
    let host = host!(&home);
    host.project(json!([]), json!({"post-deploy": "true", "ref": "origin/build/stable"}));
    let work = home.work();
    let git = "git -c user.name=t -c user.email=t@t";
    // Branches and tags with commits of their own; one name is both.
    sh(&work, &format!("for b in build/stable both tagged; do git checkout -q -b $b master && {git} commit -q --allow-empty -m $b; done"));
    sh(
        &work,
        &format!(
            "git tag v1 tagged && git tag both tagged && git push -q origin --tags refs/heads/build/stable refs/heads/both && {git} checkout -q master"
        ),
    );
    host.deploy("setup").run().ok();
    let source = host.path("app").join("source");
    let of = |name: &str| sh(&work, &format!("git rev-parse '{name}^{{commit}}'"));
    let (stable, both, tagged) = (of("refs/heads/build/stable"), of("refs/heads/both"), of("v1"));
    for (words, commit, branch) in [
        ("", &stable, "build/stable"),
        ("ref both", &both, "both"),
        ("ref v1", &tagged, "HEAD"),
        ("ref origin/build/stable", &stable, "build/stable"),
        (&format!("ref {tagged}"), &tagged, "HEAD"),
        ("ref build/stable", &stable, "build/stable"),
        ("revert", &tagged, "HEAD"),
        ("ref master", &of("master"), "master"),
        ("ref HEAD", &of("master"), "HEAD"),
    ] {
        host.deploy(words).run().ok();
        assert_eq!(&sh(&source, "git rev-parse HEAD"), commit, "{words}");
        assert_eq!(sh(&source, "git rev-parse --abbrev-ref HEAD").trim_start_matches("heads/"), branch, "{words}");
        let tracks = sh(&source, "git for-each-ref --format='%(refname) %(upstream:track)' refs/heads");
        assert!(!tracks.contains("ahead"), "{words}: {tracks}");
    }
}
