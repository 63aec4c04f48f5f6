//! The container blocks of the documents that this project started from, unchanged.

use std::os::unix::fs::symlink;
use std::process::Stdio;

use ostler_testkit::{Foreground, Home, Subject, free_port, get};
use rustix::process::Signal;

use crate::setup::{binary, copy_seed, home_as_pm2};

/// Returns a home whose program is `pm2-runtime`, and the home that holds this link.
fn runtime_home() -> (Home, Home) {
    let place = home_as_pm2();
    let link = place.root().join("bin/pm2-runtime");
    symlink(binary(), &link).unwrap();
    (Home::new(Subject::Ostler(link)), place)
}

/// Document 000, 003 and 004: `CMD ["pm2-runtime", "ecosystem.config.js"]` with one instance per
/// CPU. Their `HEALTHCHECK … curl -f http://localhost:3000/health` becomes `ostler health` in an
/// image without curl.
#[test]
fn cluster_runs_in_a_container() {
    let (home, _place) = runtime_home();
    let port = free_port();
    home.write(
        "app.js",
        "require('http').createServer((q, r) => r.end('fine')).listen(process.env.PORT, () => console.log('listening'));\n\
         process.on('SIGINT', () => { console.log('bye'); process.exit(0); });\n",
    );
    copy_seed(&home, "docker-cluster.config.js", "ecosystem.config.js");
    let front = Foreground::open(home.cmd("ecosystem.config.js").env("PORT", port.to_string()).command());
    let cpus = std::thread::available_parallelism().unwrap().get();
    for _ in 0..cpus {
        front.until("listening");
    }
    home.wait_until("it answers", || get(port, "/health").is_ok());
    let mut health = std::process::Command::new(binary());
    health.arg("health").env("OSTLER_HOME", home.dir()).stdout(Stdio::null());
    home.wait_until("it is healthy", || health.status().unwrap().success());
    front.signal(Signal::TERM);
    let ended = front.end(&home);
    assert_eq!((ended.code, ended.out.iter().filter(|line| *line == "bye").count()), (0, cpus), "{:?}", ended.err);
}

/// Document 000: `error_file: "/proc/1/fd/2"`, `out_file: "/proc/1/fd/1"`.
#[test]
fn container_logs_go_to_process_1() {
    let (home, _place) = runtime_home();
    home.write("app.js", "console.log('to out'); console.error('to err'); setTimeout(() => process.exit(4), 50);\n");
    copy_seed(&home, "docker-logs.config.js", "ecosystem.config.js");
    let front = Foreground::open(home.cmd("start ecosystem.config.js --no-autorestart").command());
    let ended = front.end(&home);
    let errors: Vec<_> = ended.err.iter().map(String::as_str).filter(|line| !line.contains(": PM2 ")).collect();
    assert_eq!((ended.code, ended.out, errors), (4, vec!["to out".to_owned()], vec!["to err"]));
}

/// Document 003 replaces `CMD ["node", "/app/main.js"]` by `pm2-runtime /app/main.js`, and uses
/// `pm2` in the running container.
#[test]
fn crashed_server_is_restarted() {
    let (home, _place) = runtime_home();
    let port = free_port();
    let script = home.write(
        "app/main.js",
        "require('http').createServer((q, r) => { if (q.url === '/crash') process.exit(1); r.end('up'); }).listen(process.env.PORT);\n\
         console.log('started');\n",
    );
    let front = Foreground::open(home.cmd(&script).env("PORT", port.to_string()).command());
    front.until("started");
    home.wait_until("it answers", || get(port, "/").is_ok());
    assert!(get(port, "/crash").is_err());
    front.until("started");
    home.wait_until("it answers again", || get(port, "/").is_ok());
    let pm2 = home.root().join("pm2");
    symlink(binary(), &pm2).unwrap();
    let list = std::process::Command::new(&pm2).arg("jlist").env("PM2_HOME", home.dir()).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!((&list[0]["name"], &list[0]["pm2_env"]["restart_time"]), (&"main".into(), &1.into()));
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
}

/// The image content of `examples/container/node` works unchanged.
#[test]
fn node_image_example_works() {
    let (home, _place) = runtime_home();
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/container/node");
    for file in ["app.js", "ecosystem.config.js", "package.json"] {
        home.write(file, std::fs::read_to_string(example.join(file)).unwrap());
    }
    let port = free_port();
    let config = home.read("ecosystem.config.js").replace("3000", &port.to_string());
    home.write("ecosystem.config.js", config);
    let front = Foreground::open(home.cmd("ecosystem.config.js").env("NODE_ENV", "production").command());
    front.until(&format!("listening on {port}"));
    home.wait_until("it is well", || get(port, "/health").is_ok());
    front.signal(Signal::TERM);
    assert_eq!(front.end(&home).code, 0);
}
