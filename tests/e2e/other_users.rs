//! Several users: configuration files that another user can change, root and the homes of others,
//! homes of users without an entry.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use ostler_testkit::{Home, Subject, needs_root, paths_below, set_mode};

use crate::setup::{home, home_as_pm2, stranger_home};

/// A user that owns no other files.
const OTHER: u32 = 54_321;

/// The program under both names.
const SUBJECTS: [fn(PathBuf) -> Subject; 2] = [Subject::Ostler, Subject::OstlerAsPm2];

const COMPOSE: &str = "services: {app: {command: sleep 1000}}\n";
const ECOSYSTEM: &str = "apps: [{name: app, script: sleep, args: 1000}]\n";

fn give(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
}

/// Creates a folder like `/tmp` with a file of another user, and a folder of root's inside.
fn sticky(home: &Home, name: &str, text: &str) -> PathBuf {
    let shared = home.work().join("shared");
    std::fs::create_dir_all(shared.join("mine/inner")).unwrap();
    set_mode(&shared, 0o1777);
    std::fs::write(shared.join(name), text).unwrap();
    give(&shared.join(name), OTHER);
    shared
}

#[test]
fn file_of_another_user_in_parent_folder_is_rejected() {
    needs_root!();
    for (name, text) in [("compose.yaml", COMPOSE), ("ecosystem.config.yaml", ECOSYSTEM)] {
        let home = home();
        let inner = sticky(&home, name, text).join("mine/inner");
        for command in ["up -d", "down", "ps"] {
            let output = home.cmd(command).cwd(&inner).run().fails();
            output.says("the file is refused").says(name).says("--allow-foreign-file");
        }
        // `logs` prints lines with or without a project.
        home.cmd("logs --nostream").cwd(&inner).run().never_says("refused");
        assert!(home.app_processes().is_empty(), "{name}");
        home.cmd("up -d --allow-foreign-file").cwd(&inner).run().ok().says(name);
        home.cmd("down --allow-foreign-file").cwd(&inner).run().ok().says(name);
    }
}

#[test]
fn links_and_folders_of_another_user_are_rejected() {
    needs_root!();
    let home = home();
    home.write("own/compose.yaml", COMPOSE);
    let own = home.work().join("own");
    let shared = sticky(&home, "unused", "");
    let inner = shared.join("mine/inner");
    symlink(own.join("compose.yaml"), shared.join("compose.yaml")).unwrap();
    give(&shared.join("compose.yaml"), OTHER);
    // If the kernel protects links in sticky folders, even root cannot follow this link.
    let is_protected = std::fs::read_to_string("/proc/sys/fs/protected_symlinks").is_ok_and(|set| set.trim() == "1");
    let expected = if is_protected { "no ecosystem file or compose file" } else { "refused" };
    home.cmd("up -d").cwd(&inner).run().fails().says(expected);
    std::fs::remove_file(shared.join("compose.yaml")).unwrap();
    // Root's file in a folder that another user owns, or that everybody can write to.
    let change: [&dyn Fn(bool); 3] =
        [&|on| give(&own, if on { OTHER } else { 0 }), &|on| set_mode(&own, if on { 0o777 } else { 0o755 }), &|on| {
            set_mode(own.join("compose.yaml"), if on { 0o666 } else { 0o644 })
        }];
    for (number, change) in change.into_iter().enumerate() {
        change(true);
        home.cmd("up -d").cwd(&own).run().fails().says("refused");
        change(false);
        assert!(home.app_processes().is_empty(), "{number}");
    }
    home.cmd("up -d").cwd(&own).run().ok().says("compose.yaml");
}

#[test]
fn commands_reject_files_that_others_can_change() {
    needs_root!();
    let home = home();
    let folder = sticky(&home, "ecosystem.config.yaml", ECOSYSTEM);
    std::fs::write(folder.join("compose.yaml"), COMPOSE).unwrap();
    give(&folder.join("compose.yaml"), OTHER);
    let file = "ecosystem.config.yaml";
    for command in [
        "start".to_owned(),
        format!("start {file}"),
        format!("restart {file}"),
        format!("reload {file}"),
        format!("stop {file}"),
        format!("delete {file}"),
        format!("startOrRestart {file}"),
        format!("startOrReload {file}"),
        format!("validate {file}"),
        "validate".to_owned(),
        format!("diff {file}"),
        format!("dev {file}"),
        format!("up -d -f {file}"),
        format!("deploy {file} production"),
        format!("export systemd {file}"),
        "import compose".to_owned(),
        "import compose compose.yaml --out -".to_owned(),
    ] {
        home.cmd(&command).cwd(&folder).run().fails().says("refused");
    }
    home.cmd(format!("start {file} --allow-foreign-file")).cwd(&folder).run().ok();
    // The remembered file is read again.
    home.cmd("restart app --env production").cwd(home.work()).run().fails().says("refused");
    home.ok("delete all");
    // A file of the app's own user may contain the app's variables.
    home.write("vars", "A=1\n");
    give(&home.work().join("vars"), OTHER);
    let with = |uid: &str| format!("apps: [{{name: app, script: sleep, args: 1000, env_file: vars{uid}}}]");
    home.write("eco.yaml", with(""));
    home.run("start eco.yaml").fails().says("refused");
    home.write("eco.yaml", with(&format!(", uid: {OTHER}, gid: {OTHER}")));
    home.ok("validate eco.yaml");
}

/// `sudo pm2 start /home/alice/ecosystem.config.js` is everyday use of PM2.
#[test]
fn pm2_name_accepts_named_file_of_another_user() {
    needs_root!();
    let home = home_as_pm2();
    let folder = home.work().join("alice");
    home.write("alice/ecosystem.config.js", "module.exports = {apps: [{name: 'app', script: 'sleep', args: '1000', interpreter: 'none'}]}");
    for path in [folder.clone(), folder.join("ecosystem.config.js")] {
        give(&path, OTHER);
    }
    home.ok("start alice/ecosystem.config.js").never_says("refused");
    home.cmd("reload ecosystem.config.js").cwd(&folder).run().ok();
    home.cmd("start").cwd(&folder).run().ok();
    home.ok("delete alice/ecosystem.config.js");
    // A named file that everybody can change is used with a warning. Without a name, it is never
    // used.
    set_mode(&folder, 0o1777);
    home.ok("start alice/ecosystem.config.js").says("every user can change this file");
    home.cmd("start").cwd(&folder).run().fails().says("refused");
}

#[test]
fn own_file_and_file_of_sudo_user_are_accepted() {
    needs_root!();
    let home = home();
    let other = stranger_home(&home, OTHER, Subject::Ostler);
    other.write("eco.yaml", ECOSYSTEM);
    set_mode(other.work().join("eco.yaml"), 0o664);
    give(&other.work().join("eco.yaml"), OTHER);
    other.cmd("validate eco.yaml").uid(OTHER).run().ok();
    let validate = |sudo: u32| {
        let id = sudo.to_string();
        home.cmd("validate eco.yaml").cwd(other.work()).env("SUDO_UID", &id).env("SUDO_GID", &id).run()
    };
    validate(OTHER).ok();
    validate(OTHER + 1).fails().says("refused");
}

/// Fails if any file below the folder belongs to another user.
fn all_belong_to(folder: &Path, uid: u32) {
    for path in paths_below(folder).iter().chain([&folder.to_owned()]) {
        assert_eq!(std::fs::symlink_metadata(path).unwrap().uid(), uid, "{}", path.display());
    }
}

fn uid_of(pid: i32) -> u32 {
    std::fs::metadata(format!("/proc/{pid}")).unwrap().uid()
}

#[test]
fn root_uses_the_daemon_of_a_users_home() {
    needs_root!();
    let home = home();
    for subject in SUBJECTS {
        let other = stranger_home(&home, OTHER, subject);
        other.cmd("start sleep --name app -x --interpreter none -- 1000").uid(OTHER).run().ok();
        let keeper = other.keeper_pid();
        assert!(other.ok("jlist").stdout.contains("\"app\""));
        for command in
            ["list", "save", "restart app", "describe app", "logs --nostream", "flush", "report", "cleardump", "set a:b c", "stop app"]
        {
            other.ok(command).never_says("running as");
        }
        assert_eq!((other.keeper_pid(), uid_of(keeper)), (keeper, OTHER));
        all_belong_to(other.dir(), OTHER);
        other.ok("kill");
        // Without a daemon, root starts the user's daemon.
        other.ok("start sleep --name app -x --interpreter none -- 1000").says("running as uid 54321");
        assert_eq!((uid_of(other.keeper_pid()), uid_of(other.app("app").pid())), (OTHER, OTHER));
        all_belong_to(other.dir(), OTHER);
        other.cmd("delete all").uid(OTHER).run().ok();
    }
}

/// `sudo -E`, `su` without `-`, `runuser`: the variable HOME belongs to another user.
#[test]
fn home_created_by_root_in_user_folder_is_reported() {
    needs_root!();
    let home = home();
    let start = "start sleep --name app -x --interpreter none -- 1000";
    // The folder has no entry in the user database: only HOME names the home.
    for (subject, folder, owner) in SUBJECTS.into_iter().zip([".ostler", ".pm2"]).zip([OTHER, 0]).map(|((a, b), c)| (a, b, c)) {
        let mut other = stranger_home(&home, OTHER, subject);
        let dir = other.root().join("user").join(folder);
        other.set_dir(&dir);
        let output = other.cmd(start).without("OSTLER_HOME").without("PM2_HOME").env("SUDO_UID", OTHER.to_string()).run().ok();
        output.says(if owner == 0 { "belongs to root but is in a folder of uid 54321" } else { "running as uid 54321" });
        all_belong_to(&dir, owner);
        assert_eq!(uid_of(other.app("app").pid()), owner);
        other.ok("kill");
    }
    // The opposite case: a user with root's HOME.
    let other = stranger_home(&home, OTHER, Subject::Ostler);
    let roots = other.root().join("roots");
    std::fs::create_dir(&roots).unwrap();
    set_mode(&roots, 0o700);
    let cmd = other.cmd("list").without("OSTLER_HOME").env("HOME", &roots);
    cmd.uid(OTHER).run().fails().says("HOME");
}

#[test]
fn root_does_not_follow_user_link_to_a_home() {
    needs_root!();
    let home = home();
    home.ok("start sleep --name roots -- 1000");
    for subject in SUBJECTS {
        let other = stranger_home(&home, OTHER, subject);
        symlink(home.dir(), other.dir()).unwrap();
        give(other.dir(), OTHER);
        for command in ["kill", "save", "delete all", "start sleep --name x -- 1000"] {
            other.run(command).fails();
        }
        assert!(!home.dir().join("dump.pm2").exists());
    }
    assert_eq!(home.app("roots").status(), "online");
}

#[test]
fn a_runtime_runs_as_the_owner_of_a_mounted_home() {
    needs_root!();
    let home = home();
    for subject in SUBJECTS {
        let other = stranger_home(&home, OTHER, subject);
        std::fs::create_dir(other.dir()).unwrap();
        give(other.dir(), OTHER);
        other.write("app.sh", "id -u; echo $GIVEN; exit 3\n");
        let output = other.cmd("runtime app.sh --no-autorestart").env("GIVEN", "by-the-image").run();
        assert!(output.all().contains("54321\nby-the-image\n"), "{output}");
        output.says("running as uid 54321");
        all_belong_to(other.dir(), OTHER);
    }
}

/// OpenShift runs images as a user without an entry, with root's group. The folders belong to the
/// group or are writable for everybody.
#[test]
fn user_without_entry_gets_a_home_in_a_shared_folder() {
    needs_root!();
    let home = home();
    for (subject, mode) in SUBJECTS.into_iter().zip([0o1777, 0o777]) {
        let mut other = stranger_home(&home, OTHER, subject);
        let shared = other.root().join("shared");
        std::fs::create_dir(&shared).unwrap();
        set_mode(&shared, mode);
        other.set_dir(&shared);
        other.cmd("start sleep --name app -x --interpreter none -- 1000").uid(OTHER).run().ok();
        assert!(other.cmd("jlist").uid(OTHER).run().ok().stdout.contains("\"app\""));
        assert!(shared.join(format!("uid-{OTHER}/ostler.lock")).exists());
        other.cmd("kill").uid(OTHER).run().ok();
        // A link of another user with that name is not followed.
        std::fs::remove_dir_all(shared.join(format!("uid-{OTHER}"))).unwrap();
        symlink(other.work(), shared.join(format!("uid-{OTHER}"))).unwrap();
        other.cmd("start sleep --name app -- 1000").uid(OTHER).run().fails().says("belongs to uid 0");
    }
}

#[test]
fn home_given_to_another_user_is_reported_in_one_line() {
    needs_root!();
    let home = home();
    for subject in SUBJECTS {
        let other = stranger_home(&home, OTHER, subject);
        let dir = other.root().join("home");
        let mut other = other;
        other.set_dir(&dir);
        other.ok("start sleep --name app -x --interpreter none -- 1000");
        let keeper = other.keeper_pid();
        let chown = |uid: u32| {
            assert!(std::process::Command::new("chown").args(["-R", &uid.to_string()]).arg(&dir).status().unwrap().success());
        };
        chown(OTHER);
        for command in ["list", "stop app", "kill", "save"] {
            for uid in [0, OTHER] {
                other.cmd(command).uid(uid).run().fails().says("runs as uid 0").says("hint: ").says("chown -R 0");
            }
        }
        chown(0);
        assert_eq!((other.keeper_pid(), other.app("app").status()), (keeper, "online"));
    }
}
