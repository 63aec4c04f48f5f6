//! `pull`, `forward`, `backward` with real git.

use std::process::Command;

use ostler_testkit::{Home, fixture, needs_program, needs_root, sh};

use crate::setup::{home, home_as_pm2};

/// Creates three commits on the remote, and checks out the first here, where `api` runs.
fn create_three_commits(home: &Home, more: &str) -> Vec<String> {
    sh(home.work(), "git init -q -b main . && git init -q --bare -b main ../repo.git && git remote add origin ../repo.git");
    home.write("app.json", format!(r#"{{"apps": [{{"name": "api", "script": "{}", "args": "hold"{more}}}]}}"#, fixture()));
    let mut commits = Vec::new();
    for number in 1..=3 {
        home.write("number", number.to_string());
        sh(home.work(), "git add -A");
        sh(home.work(), "git commit -qm x");
        commits.push(sh(home.work(), "git rev-parse HEAD"));
    }
    sh(home.work(), "git push -q -u origin main");
    sh(home.work(), &format!("git reset -q --hard {}", commits[0]));
    home.ok("start app.json");
    commits
}

#[test]
fn pull_forward_and_backward_move_between_commits() {
    needs_program!("git");
    let home = home();
    let commits = create_three_commits(&home, r#", "post_update": ["cat number >> ../seen"]"#);
    let now = || commits.iter().position(|commit| *commit == sh(home.work(), "git rev-parse HEAD")).unwrap();
    let restarts = || home.app("api").restarts();
    home.ok("forward api").says(&format!("{} -> {}", &commits[0][..7], &commits[1][..7]));
    assert_eq!((now(), restarts()), (1, 1));
    home.ok("pull api");
    assert_eq!((now(), restarts()), (2, 2));
    home.ok("pull api").says("nothing to do");
    home.ok("forward api").says("nothing to do");
    assert_eq!(restarts(), 2);
    home.ok("backward api");
    home.ok(format!("pull api {}", commits[0]));
    home.ok("backward api").says("nothing to do");
    assert_eq!((now(), restarts()), (0, 4));
    assert_eq!(std::fs::read_to_string(home.root().join("seen")).unwrap(), "2321");
    // Uncommitted changes are not lost, and an invalid commit is rejected.
    home.write("number", "mine");
    home.run("pull api").fails().says("stays at");
    assert_eq!((home.read("number").as_str(), now()), ("mine", 0));
    home.run("pull api nosuch").fails();
    home.run("pull api --output=x").fails();
    home.run("pull nosuch").code(4);
    sh(home.work(), "git checkout -q number");
    // The branches have diverged, so ostler cannot choose a commit.
    sh(home.work(), "git commit -q --allow-empty -m mine");
    home.run("pull api").fails().says("name the commit");
}

#[test]
fn failed_post_update_rolls_back() {
    needs_program!("git");
    let home = home();
    let commits = create_three_commits(&home, r#", "post_update": ["grep -q 1 number"]"#);
    home.run("pull api").code(1).says("post_update failed").says(&format!("restoring {}", &commits[0][..7]));
    assert_eq!((sh(home.work(), "git rev-parse HEAD"), home.app("api").status()), (commits[0].clone(), "online"));
}

#[test]
fn exec_timeout_kills_slow_command() {
    needs_program!("git");
    let home = home();
    let commits = create_three_commits(&home, r#", "exec_timeout": 400, "post_update": ["test $(cat number) = 1 || sleep 4711"]"#);
    home.run("pull api").code(1).says("took longer than exec_timeout").says("restoring");
    assert_eq!(sh(home.work(), "git rev-parse HEAD"), commits[0]);
    let sleeps = || ostler_testkit::process_table().iter().any(|process| process.cmdline.contains("sleep 4711"));
    home.wait_until("nothing of it is left", || !sleeps());
}

#[test]
fn git_commands_report_missing_repository() {
    needs_program!("git");
    for (home, code) in [(home(), 1), (home_as_pm2(), 0)] {
        home.ok(format!("start {} --name api -- hold", fixture()));
        for command in ["pull", "forward", "backward"] {
            home.run(format!("{command} api")).code(code).says("No versioning system found for process api");
        }
        assert_eq!(home.app("api").restarts(), 0);
    }
}

#[test]
fn git_runs_as_the_app_user() {
    needs_program!("git");
    needs_root!();
    let home = home();
    let commits = create_three_commits(&home, "");
    home.ok("delete api");
    let chown = "chown -R 65534 . ../repo.git";
    assert!(Command::new("sh").args(["-c", chown]).current_dir(home.work()).status().unwrap().success());
    home.ok(format!("start {} --name api --uid 65534 -- hold", fixture()));
    // git refuses to work in a folder of another user.
    home.ok("pull api");
    let head = std::fs::read_to_string(home.work().join(".git/refs/heads/main")).unwrap();
    assert_eq!(head.trim(), commits[2]);
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(home.work().join(".git/refs/heads/main")).unwrap());
    assert_eq!(owner, 65534);
}

#[test]
fn describe_shows_the_commit() {
    needs_program!("git");
    let home = home();
    let commits = create_three_commits(&home, "");
    let url = home.root().join("repo.git").display().to_string();
    sh(home.work(), &format!("git remote set-url origin {url}"));
    let output = home.ok("describe api").says("Revision\n").says(&commits[0]).says("main");
    assert!(output.all().contains("repo.git"), "{output}");
    // ostler reads packed refs and a detached head without running git.
    sh(home.work(), "git pack-refs --all");
    home.ok("describe api").says(&commits[0]);
    sh(home.work(), "git checkout -q origin/main");
    home.cmd("describe api").env("PATH", "/nowhere").run().ok().says(&commits[2]);
    // A worktree of a worktree: `.git` is a file there.
    sh(home.work(), "git worktree add -q ../second HEAD~1");
    let mut app = home.cmd(format!("start {} --name second -- hold", fixture()));
    app = app.cwd(home.root().join("second"));
    app.run().ok();
    home.ok("describe second").says(&commits[1]);
    home.ok("restart api --no-vizion").says("api");
    home.ok("describe api").never_says("Revision");
    // A FIFO that would block, or a folder without a repository, shows no revision.
    std::fs::remove_file(home.root().join("second/.git")).unwrap();
    assert!(Command::new("mkfifo").arg(home.root().join("second/.git")).status().unwrap().success());
    home.ok("describe second").never_says("Revision");
}

/// PM2's list and bus show the commit that the app was started from, not the folder's current
/// commit.
#[test]
fn list_shows_commit_the_app_was_started_from() {
    needs_program!("git");
    let home = home();
    let commits = create_three_commits(&home, "");
    let versioning = || home.app("api").env("versioning").clone();
    home.wait_until("its commit is known", || !versioning().is_null());
    let url = home.root().join("repo.git").display().to_string();
    sh(home.work(), &format!("git remote set-url origin {url}"));
    let (root, first) = (home.work().display().to_string(), versioning());
    let told = |revision: &str| serde_json::json!({"type": "git", "url": "../repo.git", "revision": revision, "branch": "main", "remote": "origin", "repo_path": root});
    assert_eq!(first, told(&commits[0]));
    sh(home.work(), &format!("git reset -q --hard {}", commits[1]));
    ostler_testkit::kill(home.daemon_pid(), rustix::process::Signal::KILL);
    assert_eq!(versioning()["revision"], commits[0].as_str(), "another daemon knows it, too");
    home.ok("restart api");
    home.wait_until("the other commit is known", || versioning()["revision"] == commits[1].as_str());
    assert_eq!(versioning()["url"], url.as_str());
    home.ok("restart api --no-vizion");
    home.wait_until("it is not wanted any more", || versioning().is_null());
}
