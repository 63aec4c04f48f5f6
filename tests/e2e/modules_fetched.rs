//! Modules from a git repository and from a web server, and a module that pulls with git by itself.

use crate::modules::module;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use ostler_testkit::{Home, fixture_path, installed_pm2, needs_program, sh};

use crate::setup::{home, start_fixture};

/// Returns the installed modules and the home's settings for them.
fn state(home: &Home) -> (String, Option<String>) {
    (home.ok("module:list").stdout, fs::read_to_string(home.dir().join("module_conf.json")).ok())
}

#[test]
fn module_is_installed_from_a_git_repository() {
    needs_program!("npm");
    needs_program!("git");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    module(&home, "src", "gitmod", "1.0.0", "hold");
    let work = home.work();
    sh(work.join("src"), "git init -q -b master .; git add -A; git commit -qm 1; git tag v1; git init -q --bare -b master ../gitmod.git");
    sh(work.join("src"), "git push -q ../gitmod.git master v1");
    let url = format!("git+file://{}/gitmod.git", work.display());
    home.ok(format!("install {url}"));
    assert_eq!(home.ok("module:list").stdout, "gitmod  1.0.0  online\n");
    // The branch has the next version; a module installed by tag stays at its tag.
    module(&home, "src", "gitmod", "1.1.0", "hold");
    sh(work.join("src"), "git commit -qam 2; git push -q ../gitmod.git master");
    home.ok("module:update gitmod").says("Module gitmod 1.1.0 installed");
    home.ok(format!("install {url}#v1")).says("gitmod 1.0.0");
    assert_eq!(home.ok("module:list").stdout, "gitmod  1.0.0  online\n");
    // A missing source changes nothing.
    let (before, pids) = (state(&home), home.jlist().iter().map(|item| item.pid()).collect::<Vec<_>>());
    home.run(format!("install {url}#absent")).fails();
    home.run(format!("install git+file://{}/absent.git", work.display())).fails();
    assert_eq!((state(&home), home.jlist().iter().map(|item| item.pid()).collect::<Vec<_>>()), (before, pids));
}

/// Serves these files on loopback by name, and answers 404 for others, until the test finishes.
fn serve(files: Vec<(String, Vec<u8>)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let asked = lines.next().unwrap_or_default();
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            let found = files.iter().find(|(name, _)| asked.split(' ').nth(1) == Some(&format!("/{name}")));
            let (status, body) = found.map_or(("404 Not Found", &b"no such file"[..]), |(_, body)| ("200 OK", body));
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
        }
    });
    port
}

#[test]
fn module_is_installed_from_a_web_server() {
    needs_program!("curl");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    for version in ["1.0.0", "1.1.0"] {
        module(&home, "src", "webmod", version, "hold");
        home.ok("package src");
    }
    let read = |name: &str| fs::read(home.work().join(name)).unwrap();
    let (first, next) = (read("src-v1-0-0.tar.gz"), read("src-v1-1-0.tar.gz"));
    let half = first[..first.len() / 2].to_vec();
    let port = serve(vec![
        ("webmod.tar.gz".into(), first),
        ("next.tar.gz".into(), next),
        ("half.tar.gz".into(), half),
        ("page.tar.gz".into(), b"<html>".to_vec()),
    ]);
    home.ok(format!("install http://127.0.0.1:{port}/webmod.tar.gz"));
    assert_eq!(home.ok("module:list").stdout, "webmod  1.0.0  online\n");
    home.ok("module:update webmod");
    home.ok(format!("install http://127.0.0.1:{port}/next.tar.gz"));
    assert_eq!(home.ok("module:list").stdout, "webmod  1.1.0  online\n");
    let (before, pid) = (state(&home), home.app("webmod").pid());
    for name in ["absent.tar.gz", "half.tar.gz", "page.tar.gz"] {
        home.run(format!("install http://127.0.0.1:{port}/{name}")).fails();
        assert_eq!((state(&home), home.app("webmod").pid()), (before.clone(), pid), "{name}");
    }
    home.run("install http://127.0.0.1:1/x.tar.gz").fails();
    assert_eq!((state(&home), home.app("webmod").pid()), (before, pid));
}

#[test]
fn module_can_pull_itself_with_git() {
    needs_program!("node");
    needs_program!("git");
    let Some(pm2) = installed_pm2() else { ostler_testkit::skip!("npm's pm2 is not installed") };
    let library = pm2.canonicalize().unwrap().ancestors().skip(1).find(|folder| folder.ends_with("pm2")).unwrap().to_owned();
    let home = home();
    let work = home.work();
    home.write("src/app.js", "console.log(`release ${require('fs').readFileSync(__dirname + '/release')}`); setInterval(() => {}, 1000);");
    home.write("src/release", "1");
    sh(
        &work,
        "git init -q --bare -b master repo.git; cd src; git init -q -b master .; git add -A; git commit -qm 1; git push -q ../repo.git master",
    );
    sh(&work, "git clone -q repo.git clone");
    home.cmd("start app.js --name app").cwd(work.join("clone")).run().ok();
    home.wait_log("app-out.log", "release 1");
    for file in ["package.json", "index.js"] {
        home.write(&format!("puller/{file}"), fs::read(fixture_path(&format!("modules/puller/{file}"))).unwrap());
    }
    home.ok("package puller");
    home.ok(["set", "puller:PM2_LIBRARY", library.to_str().unwrap()].as_slice());
    home.ok("install puller-v1-0-0.tar.gz");
    let pid = home.app("app").pid();
    home.write("src/release", "2");
    sh(work.join("src"), "git commit -qam 2; git push -q ../repo.git master");
    home.wait_log("app-out.log", "release 2");
    home.wait_log("puller-out.log", "pulled app");
    assert_ne!(home.app("app").pid(), pid);
    assert_eq!(sh(work.join("clone"), "git rev-parse HEAD"), sh(work.join("src"), "git rev-parse HEAD"));
    // It continues with the next daemon.
    ostler_testkit::kill(home.daemon_pid(), rustix::process::Signal::KILL);
    home.ok("ping");
    home.write("src/release", "3");
    sh(work.join("src"), "git commit -qam 3; git push -q ../repo.git master");
    home.wait_log("app-out.log", "release 3");
    assert_eq!((home.app("puller").status(), home.app("puller").restarts()), ("online", 0));
}
