//! `compat`: PM2's command names as links to this program.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::setup::{binary, home};

const NAMES: [&str; 4] = ["pm2", "pm2-runtime", "pm2-docker", "pm2-dev"];

#[test]
fn links_are_made_and_removed() {
    let home = home();
    let dir = home.work().join("a folder/bin");
    let words = |word: &str| vec!["compat".to_owned(), word.to_owned(), "--dir".to_owned(), dir.display().to_string()];
    home.run(words("status")).code(1).says("missing");
    for _ in 0..2 {
        home.cmd(words("install")).env("PATH", "/nowhere").run().ok().says("is not on PATH");
    }
    for name in NAMES {
        assert_eq!(std::fs::canonicalize(dir.join(name)).unwrap(), std::fs::canonicalize(binary()).unwrap());
    }
    home.ok(words("status")).says("this program");
    let version = Command::new(dir.join("pm2")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), "7.0.4");
    home.ok(words("uninstall"));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    home.ok(words("uninstall"));
    home.run("compat").fails();
    home.run("compat nosuch").fails().says("nosuch");
    assert!(home.processes().is_empty() && !home.dir().exists(), "nothing of a daemon");
}

#[test]
fn foreign_files_are_left_alone() {
    let home = home();
    let dir = home.work().join("bin");
    std::fs::create_dir(&dir).unwrap();
    home.write("bin/pm2-dev", "#!/bin/sh\necho the real one\n");
    symlink("/bin/true", dir.join("pm2-docker")).unwrap();
    let words = format!("--dir {}", dir.display());
    home.run(format!("compat install {words}")).fails().says("not a link to this program").says("--force");
    assert!(!dir.join("pm2").exists(), "all or nothing");
    home.run(format!("compat status {words}")).code(1).says("another file (/");
    home.ok(format!("compat uninstall {words}"));
    assert!(home.read("bin/pm2-dev").contains("the real one"));
    home.ok(format!("compat install {words} --force"));
    assert!(NAMES.iter().all(|name| dir.join(name).is_symlink()));
    // A folder is never replaced.
    home.ok(format!("compat uninstall {words}"));
    std::fs::create_dir(dir.join("pm2")).unwrap();
    home.run(format!("compat install {words} --force")).fails();
    assert!(dir.join("pm2").is_dir());
}

#[test]
fn install_reports_which_pm2_is_first_on_path() {
    let home = home();
    let (first, second) = (home.work().join("first"), home.work().join("second"));
    for dir in [&first, &second] {
        std::fs::create_dir(dir).unwrap();
    }
    home.write("first/pm2", "#!/bin/sh\n");
    let path = std::env::join_paths([&first, &second]).unwrap();
    let output = home.cmd(format!("compat install --dir {}", second.display())).env("PATH", path).run().ok();
    let told: Vec<_> = output.stderr.lines().filter(|line| line.contains("comes before")).collect();
    assert!(told.len() == 1 && told[0].contains("first/pm2"), "{output}");
}
