//! `serve`: files over HTTP, served by an ordinary app.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::time::Duration;

use ostler_testkit::{DEADLINE, Home, Load, LoadSpec, exchange, free_port, get, request};

use crate::setup::{home, home_as_pm2};

/// Creates a folder with a page, an application, and files that no client may get.
fn site(home: &Home) {
    let site = home.work().join("site");
    std::fs::create_dir_all(site.join("sub")).unwrap();
    std::fs::create_dir_all(site.join("empty")).unwrap();
    for (name, text) in [
        ("site/index.html", "home page"),
        ("site/a.txt", "0123456789"),
        ("site/app.js", "plain script"),
        ("site/sub/index.html", "sub page"),
        ("site/empty/<b>.txt", "x"),
        ("site/.env", "SECRET=1"),
        ("secret", "secret"),
    ] {
        home.write(name, text);
    }
    // Written last: as new as the script.
    home.write("site/app.js.gz", "packed script");
    symlink("../secret", site.join("out")).unwrap();
    symlink("a.txt", site.join("in")).unwrap();
}

/// Serves the folder with these options; returns the port.
fn served(home: &Home, options: &str) -> u16 {
    let port = free_port();
    home.ok(format!("serve site {port} --name site {options}"));
    port
}

/// Checks that a response has this status, and each of these words.
#[track_caller]
fn assert_answer(answer: &str, status: u16, words: &[&str]) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    for word in words {
        assert!(answer.to_ascii_lowercase().contains(&word.to_ascii_lowercase()), "{word}: {answer}");
    }
}

#[test]
fn served_folder_is_an_app() {
    let home = home_as_pm2();
    site(&home);
    let port = free_port();
    home.ok(format!("serve site {port}")).says(&format!("Serving {} on port {port}", home.work().join("site").display()));
    let name = format!("static-page-server-{port}");
    assert_eq!(get(port, "/").unwrap(), "home page");
    let app = home.app(&name);
    assert_eq!((app.status(), app.text("exec_mode"), app.text("PM2_SERVE_PORT")), ("online", "fork_mode", port.to_string().as_str()));
    assert_eq!(app.text("pm_cwd"), home.work().join("site").to_string_lossy());
    home.wait_log(&format!("{name}-out.log"), "Exposing ");
    // Another port is another app; the same port is already served.
    let other = free_port();
    home.ok(format!("expose site --port {other}"));
    assert_eq!(get(other, "/").unwrap(), "home page");
    assert_eq!(home.run(format!("serve site {port}")).code, 1);
    home.ok(format!("restart {name}"));
    home.wait_until("it serves again", || get(port, "/").is_ok());
    home.ok(format!("restart {name} -- --anything"));
    home.wait_until("it is still a server", || get(port, "/").is_ok());
    home.ok(format!("delete {name}"));
    assert!(get(port, "/").is_err());
}

#[test]
fn files_are_served_with_ranges_and_cache_validation() {
    let home = home();
    site(&home);
    home.write("site/404.html", "lost page");
    let port = served(&home, "");
    let whole = request(port, "GET /a.txt?x=1", "");
    assert_answer(
        &whole,
        200,
        &["content-length: 10", "content-type: text/plain", "accept-ranges: bytes", "access-control-allow-origin: *"],
    );
    let etag = whole.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let head = request(port, "HEAD /a.txt", "");
    assert_answer(&head, 200, &["content-length: 10"]);
    assert!(!head.contains("0123"), "{head}");
    for (line, headers, status, words) in [
        ("GET /a.txt", "Range: bytes=2-4\r\n".to_owned(), 206, &["content-range: bytes 2-4/10", "\r\n\r\n234"][..]),
        ("GET /a.txt", "Range: bytes=20-\r\n".to_owned(), 416, &["content-range: bytes */10"]),
        ("GET /a.txt", format!("If-None-Match: {etag}\r\n"), 304, &[]),
        ("GET /a.txt", "If-Match: \"other\"\r\n".to_owned(), 412, &[]),
        (
            "GET /app.js",
            "Accept-Encoding: gzip\r\n".to_owned(),
            200,
            &["content-encoding: gzip", "application/javascript", "packed script"],
        ),
        ("GET /app.js", String::new(), 200, &["vary: accept-encoding", "plain script"]),
        ("GET /sub?x=1", String::new(), 301, &["location: ./sub/?x=1"]),
        ("GET /sub/", String::new(), 200, &["sub page"]),
        ("GET /in", String::new(), 200, &["0123456789"]),
        ("GET /absent", String::new(), 404, &["lost page"]),
        ("GET /empty/", String::new(), 404, &["lost page"]),
        ("POST /a.txt", "Content-Length: 0\r\n".to_owned(), 405, &["allow: GET, HEAD"]),
    ] {
        assert_answer(&request(port, line, &headers), status, words);
    }
    // An old compressed file belongs to an old release.
    home.write("site/app.js", "next script");
    home.wait_until("the plain file is newer", || request(port, "GET /app.js", "Accept-Encoding: gzip\r\n").contains("next script"));
}

#[test]
fn hidden_and_outside_files_are_not_served() {
    let home = home();
    site(&home);
    let port = served(&home, "--spa");
    for (path, status) in [
        ("/../secret", 403),
        ("/%2e%2e/secret", 403),
        ("/..%2fsecret", 403),
        ("/sub/../../secret", 403),
        ("/.env", 404),
        ("/%2eenv", 404),
        ("/%zz", 400),
        ("/a%00.txt", 400),
    ] {
        let answer = request(port, &format!("GET {path}"), "");
        assert_answer(&answer, status, &[]);
    }
    // A link that leads out of the folder counts as missing. An application with client-side routes
    // answers with its page.
    assert_answer(&request(port, "GET /out", ""), 200, &["home page"]);
    assert_answer(&request(port, "GET /any/page", ""), 200, &["home page"]);
    home.ok("delete site");
    let port = free_port();
    home.cmd(format!("serve site {port} --name site")).env("OSTLER_SERVE_SYMLINKS", "any").run().ok();
    assert_answer(&request(port, "GET /out", ""), 200, &["secret"]);
}

#[test]
fn basic_auth_admits_one_user_and_ftp_lists_folders() {
    let home = home();
    site(&home);
    let failed = home.run(format!("serve site {} --basic-auth-username u", free_port()));
    assert_eq!(failed.code, 2, "{failed}");
    let port = served(&home, "--ftp --basic-auth-username u --basic-auth-password a:b");
    assert_answer(&request(port, "GET /", ""), 401, &["www-authenticate: basic realm=\"authentication service\""]);
    assert_answer(&request(port, "GET /", "Authorization: Basic dTph\r\n"), 401, &[]);
    let login = "Authorization: Basic dTphOmI=\r\n";
    assert_answer(&request(port, "GET /", login), 200, &["home page"]);
    let list = request(port, "GET /empty/", login);
    assert_answer(&list, 200, &["&lt;b&gt;.txt", "href=\"./%3cb%3e.txt\""]);
    std::fs::remove_file(home.work().join("site/index.html")).unwrap();
    let top = request(port, "GET /", login);
    assert_answer(&top, 200, &["href=\"./sub/\""]);
    assert!(!top.contains(".env"), "{top}");
}

#[test]
fn hostile_clients_do_not_affect_others() {
    let home = home();
    site(&home);
    std::fs::write(home.work().join("site/large"), vec![b'x'; 32 << 20]).unwrap();
    let port = free_port();
    let command = home.cmd(format!("serve site {port} --name site"));
    command.env("OSTLER_SERVE_TIMEOUT", "1").env("OSTLER_SERVE_CONNECTIONS", "8").run().ok();
    let pid = home.app("site").pid();
    // An unterminated request head.
    let huge = exchange(port, format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(1 << 20)));
    assert!(!huge.contains("200 OK"), "{huge}");
    let many = exchange(port, format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(1000)));
    assert!(!many.contains("200 OK"), "{many}");
    // A client that reads nothing, and many that send nothing: more than the server has room for.
    let mut lazy = TcpStream::connect(("127.0.0.1", port)).unwrap();
    lazy.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    silent[0].write_all(b"GET / HTT").unwrap();
    assert_eq!(get(port, "/").unwrap(), "home page");
    // The server closes each of them at some point.
    for stream in &mut silent {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(!matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{ended:?}");
    }
    home.wait_until("the lazy reader is closed", || {
        let inodes = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        !inodes.into_iter().any(|link| link.ends_with("site/large"))
    });
    let mut rest = Vec::new();
    lazy.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = lazy.read_to_end(&mut rest);
    assert!(rest.len() < 32 << 20, "{}", rest.len());
    assert_eq!((home.app("site").pid(), home.app("site").restarts()), (pid, 0));
}

#[test]
fn a_reload_loses_no_request() {
    let home = home();
    site(&home);
    let port = served(&home, "-i 2");
    let load = Load::mixed(port, 4);
    home.wait_until("requests are answered", || load.good() > 50);
    let before: Vec<i32> = home.jlist().iter().map(|app| app.pid()).collect();
    for _ in 0..2 {
        home.ok("reload site");
    }
    let seen = load.stop();
    seen.assert_whole();
    assert!(home.jlist().iter().all(|app| !before.contains(&app.pid()) && app.status() == "online"));
    assert_eq!(home.jlist().len(), 2);
}

#[test]
fn stop_finishes_running_downloads() {
    let home = home();
    site(&home);
    std::fs::write(home.work().join("site/large"), vec![b'x'; 32 << 20]).unwrap();
    let port = served(&home, "--kill-timeout 20000");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 1024];
    stream.read_exact(&mut first).unwrap();
    let stopping = std::thread::scope(|scope| {
        let stop = scope.spawn(|| home.ok("stop site"));
        home.wait_until("nobody accepts", || home.app("site").status() == "stopping");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let head = String::from_utf8_lossy(&first).find("\r\n\r\n").unwrap() + 4;
        assert_eq!(first.len() + rest.len() - head, 32 << 20);
        stop.join().unwrap()
    });
    drop(stopping);
    assert_eq!(home.app("site").status(), "stopped");
}

#[test]
fn config_file_can_define_served_folders() {
    let home = home();
    site(&home);
    let (first, second) = (free_port(), free_port());
    home.write(
        "ecosystem.config.js",
        format!(
            "module.exports = {{
  apps: [{{ name: 'pages', script: 'serve', exec_mode: 'cluster', instances: 2,
            env: {{ PM2_SERVE_PATH: './site', PM2_SERVE_PORT: {first}, PM2_SERVE_SPA: 'true' }} }}],
  static: [{{ path: './site', port: {second}, ftp: true, basic_auth: {{ username: 'u', password: 'p' }} }}],
}}"
        ),
    );
    home.ok("start ecosystem.config.js");
    assert_eq!(home.jlist().len(), 3);
    assert_eq!(get(first, "/no/such").unwrap(), "home page");
    assert_answer(&request(second, "GET /", ""), 401, &[]);
    assert_answer(&request(second, "GET /", "Authorization: Basic dTpw\r\n"), 200, &["home page"]);
    assert_eq!(home.app(&format!("static-page-server-{second}")).status(), "online");
    let load = Load::start(LoadSpec::to(first));
    home.wait_until("requests are answered", || load.good() > 20);
    home.ok("reload ecosystem.config.js");
    load.stop().assert_whole();
    // A build creates the folder again.
    std::fs::remove_dir_all(home.work().join("site")).unwrap();
    std::fs::create_dir(home.work().join("site")).unwrap();
    home.write("site/index.html", "next page");
    assert_eq!(get(first, "/").unwrap(), "next page");
}

#[test]
fn static_entries_are_stopped_and_deleted_by_file() {
    let home = home();
    site(&home);
    let (port, other) = (free_port(), free_port());
    home.write(
        "ecosystem.config.js",
        format!(
            "module.exports = {{ static: [
  {{ path: './site', port: {port} }},
  {{ name: 'named', path: './site', port: {other} }},
] }}"
        ),
    );
    let name = format!("static-page-server-{port}");
    let statuses = || [home.app(&name).status().to_owned(), home.app("named").status().to_owned()];
    home.ok("start ecosystem.config.js");
    assert_eq!(statuses(), ["online", "online"]);
    home.ok("stop ecosystem.config.js --only named");
    assert_eq!(statuses(), ["online", "stopped"]);
    assert!(get(other, "/").is_err());
    assert_eq!(get(port, "/").unwrap(), "home page");
    home.ok("stop ecosystem.config.js");
    assert_eq!(statuses(), ["stopped", "stopped"]);
    assert!(get(port, "/").is_err());
    home.ok("start ecosystem.config.js");
    assert_eq!(get(port, "/").unwrap(), "home page");
    home.ok("delete ecosystem.config.js");
    assert!(home.jlist().is_empty());
    assert!(get(port, "/").is_err() && get(other, "/").is_err());
}

#[test]
fn smallest_accepted_encoding_is_served() {
    let home = home();
    site(&home);
    for (name, text) in [("site/app.js.br", "brotli script"), ("site/app.js.zst", "zstd script"), ("site/a.txt.br", "stale")] {
        home.write(name, text);
    }
    // A compressed file that is older than its original is outdated.
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().write(true).open(home.work().join("site/a.txt.br")).unwrap().set_modified(old).unwrap();
    let port = served(&home, "");
    for (takes, encoding, body) in [
        ("br, gzip, zstd", "br", "brotli script"),
        ("gzip, zstd", "zstd", "zstd script"),
        ("gzip", "gzip", "packed script"),
        ("br;q=0, gzip;q=0.5", "gzip", "packed script"),
        ("*", "br", "brotli script"),
        ("identity", "", "plain script"),
    ] {
        let answer = request(port, "GET /app.js", &format!("Accept-Encoding: {takes}\r\n"));
        assert_answer(&answer, 200, &["vary: accept-encoding", "content-type: application/javascript"]);
        assert!(answer.ends_with(body), "{takes}: {answer}");
        let has = answer.to_ascii_lowercase().contains(&format!("content-encoding: {encoding}\r\n"));
        assert_eq!(has, !encoding.is_empty(), "{takes}: {answer}");
    }
    assert!(request(port, "GET /a.txt", "Accept-Encoding: br\r\n").ends_with("0123456789"));
}

#[test]
fn variables_set_host_and_home_page() {
    let home = home();
    site(&home);
    let port = free_port();
    let file = home.write(
        "apps.json",
        format!(
            r#"{{"apps": [{{"name": "site", "script": "serve", "env": {{"PM2_SERVE_PATH": "site", "PM2_SERVE_PORT": {port},
               "PM2_SERVE_HOST": "127.0.0.2", "PM2_SERVE_SPA": "true", "PM2_SERVE_HOMEPAGE": "/sub/index.html"}}}}]}}"#
        ),
    );
    home.ok(format!("start {file}"));
    let get_at = |host: &str, path: &str| {
        let mut stream = TcpStream::connect((host, port)).map_err(|error| error.kind())?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| error.kind())?;
        Ok::<_, std::io::ErrorKind>(answer)
    };
    home.wait_until("it serves at its address", || get_at("127.0.0.2", "/a.txt").is_ok_and(|answer| answer.ends_with("0123456789")));
    assert_eq!(get_at("127.0.0.1", "/a.txt"), Err(std::io::ErrorKind::ConnectionRefused), "and at no other");
    // Unknown paths get the configured home page.
    for path in ["/", "/some/route"] {
        assert!(get_at("127.0.0.2", path).unwrap().ends_with("sub page"), "{path}");
    }
}
