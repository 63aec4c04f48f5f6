//! Servers that know nothing of ostler, two copies of each on one port, reloaded under load.
//!
//! No request on a fresh connection fails, however slow it is. Requests on kept connections may be
//! lost: the server closes such a connection when it exits. They are counted.
//!
//! `OSTLER_RELOADS=10` makes the table of `docs/any-program.md`, one line for each program:
//!
//! ```text
//! OSTLER_RELOADS=10 cargo nextest run -p ostler --test real_apps --no-capture --run-ignored all any_program
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{
    Home, Load, LoadReport, LoadSpec, Subject, cache_dir, fixture_path, free_port, get, needs_program, program, python_program, setting,
    skip,
};
use serde_json::json;

/// Answers between two reloads.
const ANSWERS: u64 = 20;

/// A server and the way to start it.
struct Server {
    /// Name in the table.
    title: &'static str,
    /// Program and arguments. `{port}` is the port of `127.0.0.1`, `{work}` the folder with the
    /// files of `tests/fixtures/any`.
    words: String,
    /// Path of a quick answer.
    quick: &'static str,
    /// Clients whose requests take a while. A server with a single thread gets one.
    slow_clients: usize,
    /// Signal that finishes requests, if it is not SIGTERM.
    signal: Option<&'static str>,
    env: &'static [(&'static str, &'static str)],
    /// Command of a shell that builds the server in the folder.
    build: Option<String>,
}

impl Server {
    fn new(title: &'static str, words: impl Into<String>) -> Self {
        Self { title, words: words.into(), quick: "/", slow_clients: 2, signal: None, env: &[], build: None }
    }

    /// Reloads it `OSTLER_RELOADS` times, or twice.
    #[track_caller]
    fn reloads(&self) {
        let table = setting("OSTLER_RELOADS");
        let (reloads, slow_s) = table.map_or((2, 0.5), |reloads| (reloads, 2.0));
        let [fresh, slow, kept] = self.run(reloads, slow_s);
        if table.is_some() {
            let (requests, failed) = (fresh.requests + slow.requests, fresh.failed + slow.failed);
            eprintln!(
                "| {} | {requests} | {failed} | {} of {} | {:.0} ms |",
                self.title, kept.failed_on_kept, kept.requests, fresh.slowest_ms
            );
        }
        fresh.assert_whole();
        if self.slow_clients > 0 {
            slow.assert_whole();
        }
        assert_eq!(kept.failed, kept.failed_on_kept, "new connections failed: {:#?}", kept.errors);
    }

    /// Starts two copies and reloads them under load. Returns the reports about fresh connections,
    /// slow requests and kept connections.
    #[track_caller]
    fn run(&self, reloads: u64, slow_s: f64) -> [LoadReport; 3] {
        let home = Home::new(Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into()));
        let port = free_port();
        self.install(&home, port, slow_s);
        self.start(&home, port, slow_s);
        home.wait_until("it answers", || get(port, self.quick).is_ok());

        let spec = LoadSpec { connections: 4, path: self.quick.to_owned(), pause_us: 10_000, ..LoadSpec::to(port) };
        let timeout_ms = 10_000 + (slow_s * 1000.0) as u64;
        let fresh = Load::start(LoadSpec { timeout_ms, ..spec.clone() });
        let slow = LoadSpec { connections: self.slow_clients, path: "/slow".to_owned(), timeout_ms, ..spec.clone() };
        let slow = Load::start_all((self.slow_clients > 0).then_some(slow));
        let kept = Load::start(LoadSpec { keep_alive: true, pause_us: 3000, timeout_ms, ..spec });
        let mut before = home.pid_set();
        for _ in 0..reloads {
            home.wait_requests(&fresh, ANSWERS);
            home.ok("reload app");
            let after = home.pid_set();
            assert!(before.is_disjoint(&after) && after.len() == 2, "{before:?} {after:?}\n{}", home.report());
            before = after;
        }
        home.wait_requests(&fresh, ANSWERS);
        let reports = [fresh.stop(), slow.stop(), kept.stop()];
        let described = home.ok("describe app").all();
        let words = described.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_shared = words.contains("connections shares ") && words.contains("each process has its own socket");
        assert!(is_shared && words.contains(&format!(":{port}")), "it does not share its port\n{described}");
        reports
    }

    /// Writes its files, and builds it.
    #[track_caller]
    fn install(&self, home: &Home, port: u16, slow_s: f64) {
        let (port, work, slow) = (port.to_string(), home.work(), slow_s.ceil().to_string());
        for entry in fs::read_dir(fixture_path("any")).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("{port}", &port).replace("{work}", &work.to_string_lossy()).replace("{slow}", &slow);
            fs::write(work.join(path.file_name().unwrap()), text).unwrap();
        }
        // nginx sends 1 KiB of it in each second.
        home.write("slow.txt", "x".repeat(1024 * slow_s.ceil() as usize));
        if let Some(build) = &self.build {
            let output = Command::new("sh").args(["-c", build]).current_dir(&work).envs(go_cache()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[track_caller]
    fn start(&self, home: &Home, port: u16, slow_s: f64) {
        let words = self.words.replace("{port}", &port.to_string()).replace("{work}", &home.work().to_string_lossy());
        let mut words = words.split(' ');
        let script = words.next().unwrap();
        let mut app = json!({
            "name": "app", "exec_mode": "cluster", "instances": 2, "interpreter": "none", "script": script, "args": words.collect::<Vec<_>>(),
            "env": { "PORT": port.to_string(), "SLOW": slow_s.to_string() },
        });
        for (name, value) in self.env {
            app["env"][name] = json!(value);
        }
        if let Some(signal) = self.signal {
            app["kill_signal"] = json!(signal);
        }
        home.ok(format!("start {}", home.write("app.json", json!({ "apps": [app] }).to_string())));
    }
}

/// Returns variables that let Go compile its standard library once.
fn go_cache() -> [(&'static str, PathBuf); 2] {
    let cache = cache_dir().expect("HOME or a cache folder is set");
    [("GOCACHE", cache.join("go-build")), ("GOPATH", cache.join("go"))]
}

/// Returns the program's path, also if it is outside of `PATH`, as servers are for ordinary users.
fn server_program(name: &str) -> Option<String> {
    let outside = Path::new("/usr/sbin").join(name);
    let found = program(name).or_else(|| outside.exists().then_some(outside))?;
    Some(found.to_string_lossy().into_owned())
}

/// Returns a class path of Debian's packages, or the first file that is missing.
fn class_path(names: &[&str]) -> Result<String, PathBuf> {
    let files: Vec<PathBuf> = names.iter().map(|name| Path::new("/usr/share/java").join(name).with_extension("jar")).collect();
    let missing = files.iter().find(|file| !file.exists());
    let joined = || files.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>().join(":");
    missing.map_or_else(|| Ok(joined()), |file| Err(file.clone()))
}

/// Skips the test if the Python environment of `.ci/run` is missing.
macro_rules! python {
    ($name:literal) => {
        match python_program($name) {
            Some(path) => path,
            None => skip!("{} is not installed", $name),
        }
    };
}

/// Skips the test if this server is missing, even on CI.
macro_rules! server {
    ($name:literal) => {
        match server_program($name) {
            Some(path) => path,
            None => skip!("{} is not installed", $name),
        }
    };
}

#[test]
fn python_http_server() {
    needs_program!("python3");
    // It serves files: none of its answers is slow.
    let words = "python3 -m http.server {port} --bind 127.0.0.1";
    Server { quick: "/package.json", slow_clients: 0, ..Server::new("Python `-m http.server`", words) }.reloads();
}

#[test]
fn python_threading_http_server() {
    needs_program!("python3");
    Server::new("Python `ThreadingHTTPServer`", "python3 server.py").reloads();
}

#[test]
fn php() {
    needs_program!("php");
    Server { slow_clients: 1, ..Server::new("`php -S`", "php -S 127.0.0.1:{port} index.php") }.reloads();
}

#[test]
fn php_with_workers() {
    needs_program!("php");
    let env = &[("PHP_CLI_SERVER_WORKERS", "4")];
    Server { env, ..Server::new("`php -S`, 4 workers", "php -S 127.0.0.1:{port} index.php") }.reloads();
}

#[test]
fn perl() {
    needs_program!("perl");
    Server::new("Perl, `IO::Socket::INET`", "perl server.pl").reloads();
}

#[test]
fn webrick() {
    needs_program!("ruby");
    Server::new("WEBrick", "ruby webrick.rb").reloads();
}

#[test]
fn puma() {
    needs_program!("puma");
    Server::new("Puma", "puma -b tcp://127.0.0.1:{port} config.ru").reloads();
}

#[test]
#[ignore = "a line of the table"]
fn puma_with_workers() {
    needs_program!("puma");
    Server::new("Puma, `-w 2`", "puma -w 2 -b tcp://127.0.0.1:{port} config.ru").reloads();
}

/// Returns a server of Java: a class of the fixtures, with these libraries.
fn java(title: &'static str, class: &str, libraries: &str) -> Server {
    let build = Some(format!("javac -cp '.:{libraries}' {class}.java"));
    // The options let a JVM start sooner.
    let words = format!("java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp {{work}}:{libraries} {class}");
    Server { build, ..Server::new(title, words) }
}

#[test]
fn java_http_server() {
    needs_program!("javac");
    java("Java `HttpServer`", "Server", "").reloads();
}

#[test]
#[ignore = "a line of the table"]
fn tomcat() {
    needs_program!("javac");
    match class_path(&["tomcat10-embed-core", "jakarta-annotation-api"]) {
        Ok(libraries) => java("Tomcat 10, embedded", "TomcatServer", &libraries).reloads(),
        Err(missing) => skip!("{} is missing", missing.display()),
    }
}

#[test]
#[ignore = "a line of the table"]
fn jetty() {
    needs_program!("javac");
    match class_path(&["jetty9-server", "jetty9-util", "jetty9-http", "jetty9-io", "servlet-api"]) {
        Ok(libraries) => java("Jetty 9, embedded", "JettyServer", &libraries).reloads(),
        Err(missing) => skip!("{} is missing", missing.display()),
    }
}

#[test]
fn go() {
    needs_program!("go");
    let build = Some("CGO_ENABLED=0 go build -o server server.go".to_owned());
    Server { build, ..Server::new("Go `net/http`, static", "{work}/server") }.reloads();
}

/// Returns a server of C without libraries.
fn static_server(title: &'static str) -> Server {
    let build = Some("cc -O1 -static -pthread -o server server.c".to_owned());
    Server { build, ..Server::new(title, "{work}/server") }
}

#[test]
fn c() {
    needs_program!("cc");
    static_server("C, static, threads").reloads();
}

#[test]
#[ignore = "a minute"]
fn requests_of_half_a_minute_are_finished() {
    needs_program!("cc");
    let [fresh, slow, _] = static_server("").run(1, 28.0);
    fresh.assert_whole();
    slow.assert_whole();
}

#[test]
fn bun() {
    needs_program!("bun");
    Server::new("`bun server.js`", "bun bun.js").reloads();
}

#[test]
#[ignore = "a line of the table"]
fn bun_with_reuse_port() {
    needs_program!("bun");
    Server::new("`bun server.js`, `reusePort`", "bun bun.js --reuse-port").reloads();
}

#[test]
fn deno() {
    needs_program!("deno");
    Server::new("`deno run`", "deno run -A deno.js").reloads();
}

#[test]
fn npm() {
    needs_program!("npm");
    Server::new("`npm run start`, Node", "npm run start").reloads();
}

#[test]
fn uvicorn() {
    let uvicorn = python!("uvicorn");
    Server::new("uvicorn", format!("{uvicorn} --port {{port}} --no-access-log asgi:app")).reloads();
}

#[test]
#[ignore = "a line of the table"]
fn uvicorn_with_workers() {
    let uvicorn = python!("uvicorn");
    Server::new("uvicorn, 2 workers", format!("{uvicorn} --port {{port}} --no-access-log --workers 2 asgi:app")).reloads();
}

#[test]
fn gunicorn() {
    let gunicorn = python!("gunicorn");
    Server { slow_clients: 1, ..Server::new("gunicorn, 2 workers", format!("{gunicorn} --workers 2 --bind 127.0.0.1:{{port}} wsgi:app")) }
        .reloads();
}

#[test]
#[ignore = "a line of the table"]
fn gunicorn_with_threads() {
    let gunicorn = python!("gunicorn");
    let words = format!("{gunicorn} --workers 2 --threads 4 --bind 127.0.0.1:{{port}} wsgi:app");
    Server::new("gunicorn, 2 workers, 4 threads", words).reloads();
}

#[test]
fn waitress() {
    let waitress = python!("waitress-serve");
    Server::new("waitress", format!("{waitress} --listen 127.0.0.1:{{port}} wsgi:app")).reloads();
}

#[test]
fn hypercorn() {
    let hypercorn = python!("hypercorn");
    Server::new("hypercorn", format!("{hypercorn} --bind 127.0.0.1:{{port}} asgi:app")).reloads();
}

#[test]
fn granian() {
    let granian = python!("granian");
    Server::new("granian", format!("{granian} --interface asgi --no-ws --port {{port}} asgi:app")).reloads();
}

#[test]
fn aiohttp() {
    let _installed = python!("granian");
    Server::new("aiohttp", format!("{} aio.py", python!("python3"))).reloads();
}

#[test]
fn flask() {
    let flask = python!("flask");
    Server::new("Flask's server", format!("{flask} --app flask_app run --port {{port}}")).reloads();
}

#[test]
fn nginx() {
    let nginx = server!("nginx");
    let words = format!("{nginx} -p {{work}} -c nginx.conf -e stderr");
    Server { signal: Some("SIGQUIT"), ..Server::new("nginx, 2 workers (SIGQUIT)", words) }.reloads();
}

#[test]
fn lighttpd() {
    let lighttpd = server!("lighttpd");
    Server { signal: Some("SIGINT"), ..Server::new("lighttpd (SIGINT)", format!("{lighttpd} -D -f lighttpd.conf")) }.reloads();
}

#[test]
fn haproxy() {
    let haproxy = server!("haproxy");
    Server { signal: Some("SIGUSR1"), ..Server::new("HAProxy (SIGUSR1)", format!("{haproxy} -f haproxy.cfg")) }.reloads();
}
