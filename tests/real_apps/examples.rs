//! `examples/`: the test follows each README.md. While clients send requests, `reload` loses none.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_testkit::{
    Body, Home, Load, LoadSpec, Output, Subject, cache_dir, fixture_path, free_port, get, needs_program, on_ci, program, skip,
};
use serde_json::Value;

/// Answers between two events: enough to meet every state of a process.
const ANSWERS: u64 = 200;

/// Variable that is set inside of [`in_a_network_that_migrates`].
const MIGRATES: &str = "OSTLER_TEST_MIGRATES";

/// Facts about an example that its README.md does not contain.
struct Example {
    /// Name of its folder.
    name: &'static str,
    /// Name in its greeting.
    greets: &'static str,
    /// Text that a process prints when it exits cleanly.
    farewell: &'static str,
    /// Programs that it needs. Without them the test is skipped, unless continuous integration
    /// installs them.
    needs: &'static [&'static str],
    /// True if `.ci/run` installs all that it needs.
    on_ci: bool,
    /// True if keep-alive clients lose nothing, either.
    keeps: bool,
}

const EXPRESS: Example =
    Example { name: "express", greets: "Express", farewell: "Express finishes", needs: &["node", "npm"], on_ci: true, keeps: true };

const ALL: [Example; 10] = [
    EXPRESS,
    Example { name: "fastify", greets: "Fastify", farewell: "Fastify finishes", ..EXPRESS },
    Example { name: "nest", greets: "Nest", farewell: "Nest finishes", ..EXPRESS },
    // The server is Next.js's own, and prints nothing when it exits.
    Example { name: "nextjs", greets: "Next.js", farewell: "Ready", ..EXPRESS },
    Example { name: "fastapi", greets: "FastAPI", farewell: "FastAPI finishes", needs: &["python3"], on_ci: true, keeps: false },
    Example { name: "django", greets: "Django", farewell: "Django finishes", needs: &["python3"], on_ci: true, keeps: true },
    Example { name: "go", greets: "Go", farewell: "Go finishes", needs: &["go"], on_ci: false, keeps: true },
    Example { name: "bun", greets: "Bun", farewell: "Bun finishes", needs: &["bun"], on_ci: true, keeps: false },
    Example { name: "rails", greets: "Rails", farewell: "Gracefully", needs: &["puma", "bundle"], on_ci: false, keeps: false },
    Example {
        name: "laravel",
        greets: "Laravel",
        farewell: "bye-bye",
        needs: &["php", "php-fpm8.2", "nginx", "/usr/share/php/Illuminate/autoload.php"],
        on_ci: false,
        keeps: false,
    },
];

fn examples() -> PathBuf {
    fixture_path("../../examples").into()
}

fn readme(name: &str) -> String {
    fs::read_to_string(examples().join(name).join("README.md")).unwrap()
}

/// Returns the commands of a section of a README.md.
fn commands(name: &str, section: &str) -> Vec<String> {
    let text = readme(name);
    let (_, rest) = text.split_once(&format!("## {section}\n")).unwrap_or_else(|| panic!("{name}: no section {section}"));
    let own = rest.split("\n## ").next().unwrap_or_default();
    own.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// Returns the words after `ostler` of ostler's own commands.
fn ours(name: &str, section: &str) -> Vec<String> {
    commands(name, section).iter().filter_map(|line| line.strip_prefix("ostler ")).map(str::to_owned).collect()
}

fn there(needed: &str) -> bool {
    if needed.starts_with('/') { Path::new(needed).exists() } else { program(needed).is_some() || sbin(needed) }
}

fn sbin(name: &str) -> bool {
    Path::new("/usr/sbin").join(name).exists()
}

fn search_path() -> String {
    format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default())
}

/// Installs the example as its README.md describes. Python, Node and Bun download their packages
/// once, into the cache. The others download nothing and may run as another user, so they get a
/// fresh copy.
fn installed(example: &Example, home: &Home) -> PathBuf {
    let fetches = matches!(example.needs[0], "node" | "python3" | "bun");
    let dir = if fetches { cache_dir().expect("HOME or a cache folder is set").join("examples") } else { home.work() };
    fs::create_dir_all(&dir).unwrap();
    let into = dir.join(example.name);
    let install = fixture_path("examples/install.sh");
    let done = Command::new(install).arg(example.name).arg(&into).env("PATH", search_path()).status().unwrap();
    assert!(done.success(), "{} cannot be installed", example.name);
    into
}

/// Replaces the ports in the example's files, if the environment does not set them.
fn own_ports(dir: &Path, port: u16) {
    let inner = free_port().to_string();
    for file in ["ecosystem.config.js", "nginx.conf", "php-fpm.conf"] {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        fs::write(dir.join(file), text.replace("9000", &inner).replace("8080", &port.to_string())).unwrap();
    }
}

fn subject() -> Subject {
    Subject::Ostler(env!("CARGO_BIN_EXE_ostler").into())
}

/// An installed example in a home of its own.
struct InstalledExample<'a> {
    example: &'a Example,
    home: Home,
    dir: PathBuf,
    port: u16,
}

impl InstalledExample<'_> {
    /// Runs ostler's commands of this section.
    #[track_caller]
    fn run(&self, section: &str) -> Vec<Output> {
        let lines = ours(self.example.name, section);
        assert!(!lines.is_empty(), "{}: {section} has no command of ours", self.example.name);
        lines.iter().map(|line| self.ostler(line)).collect()
    }

    #[track_caller]
    fn ostler(&self, line: &str) -> Output {
        let command = self.home.cmd(line).cwd(&self.dir).env("PORT", self.port.to_string()).env("PATH", search_path());
        let output = command.run();
        assert!(output.code == 0, "{output}\n{}", self.home.report());
        output
    }

    fn healthy(&self) -> bool {
        get(self.port, "/health").is_ok_and(|body| body.contains("ok"))
    }
}

/// Runs the test of this name again, in its own network, whose kernel has the setting that
/// `examples/bun` needs.
fn in_a_network_that_migrates(test: &str) {
    let prepare = "ip link set lo up && echo 1 >/proc/sys/net/ipv4/tcp_migrate_req && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user", "sh", "-c", prepare, "sh"]).arg(env::current_exe().unwrap());
    let status = command.args(["--exact", test, "--nocapture"]).env(MIGRATES, "1").status().unwrap();
    assert!(status.success(), "{status}");
}

/// Start, reload under load, look, stop, as in the README.md.
#[track_caller]
fn shows(name: &str) {
    let example = ALL.iter().find(|example| example.name == name).unwrap();
    if let Some(missing) = example.needs.iter().find(|needed| !there(needed)) {
        let wanted = env::var_os("OSTLER_EXAMPLES").is_some() || on_ci() && example.on_ci;
        assert!(!wanted, "{name} needs {missing}, which is not here");
        skip!("{name} needs {missing}");
    }
    let home = Home::new(subject());
    let dir = installed(example, &home);
    let port = free_port();
    if name == "laravel" {
        own_ports(&dir, port);
    }
    let shown = InstalledExample { example, home, dir, port };
    shown.ostler("validate --strict");
    shown.run("Start");
    shown.home.wait_until("it is healthy", || shown.healthy());

    let spec = LoadSpec { connections: 4, body: Body::With(format!("Hello from {}, process ", example.greets)), ..LoadSpec::to(port) };
    let kept = example.keeps.then(|| LoadSpec { keep_alive: true, ..spec.clone() });
    let load = Load::start_all([spec].into_iter().chain(kept));
    let answers = || {
        let wanted = load.good() + load.failed() + ANSWERS;
        shown.home.wait_until("answers come", || load.good() + load.failed() >= wanted);
    };
    answers();
    let mut before = shown.home.pid_set();
    for _ in 0..2 {
        shown.run("Reload");
        answers();
        let after = shown.home.pid_set();
        assert!(after != before && after.len() == before.len(), "{before:?} {after:?}\n{}", shown.home.report());
        before = after;
    }
    let report = load.stop();
    assert!(report.failed == 0, "{name}: {} of {} failed: {:#?}\n{}", report.failed, report.requests, report.errors, shown.home.report());

    // Next.js's pages are counted by length, not by process.
    assert!(report.by_body.len() >= 4 || name == "nextjs", "of three generations only {:?} answered", report.by_body);

    let looked = shown.run("Look");
    let logs: String = looked.iter().map(|output| output.stdout.as_str()).collect();
    assert!(!logs.trim().is_empty());
    assert!(shown.home.jlist().iter().all(|item| item.status() == "stopped"), "{}", shown.home.report());
    let all: String = shown.home.run("logs --nostream --lines 1000").stdout;
    assert!(all.contains(example.farewell), "{name} did not say {:?}\n{all}", example.farewell);
    // Every process exited by itself, without SIGKILL at its time limit.
    assert!(!shown.home.log("../pm2.log").contains("SIGKILL"), "{}", shown.home.report());
    assert!(shown.home.app_processes().is_empty());
}

macro_rules! shown {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            shows(stringify!($name));
        })*
    };
}

shown!(express fastify nest nextjs fastapi django go rails laravel);

// Bun opens its own sockets. When a process exits, the kernel passes on the connections in its
// queue, if it is configured to.
#[test]
fn bun() {
    if env::var_os(MIGRATES).is_some() {
        return shows("bun");
    }
    needs_program!("unshare");
    needs_program!("ip");
    in_a_network_that_migrates("examples::bun");
}

#[test]
fn files_are_valid_and_readmes_are_short() {
    let home = Home::new(subject());
    for example in &ALL {
        let name = example.name;
        let dir = examples().join(name);
        let file = ["ecosystem.config.js", "ecosystem.config.cjs"].iter().find(|file| dir.join(file).exists());
        let file = file.unwrap_or_else(|| panic!("{name} has no ecosystem file"));
        let said = home.cmd(format!("validate {file} --json")).cwd(&dir).run();
        let said: Value = serde_json::from_str(&said.stdout).unwrap();
        // Installed or compiled files do not exist here. `shows` validates the file again after the
        // installation.
        let problems = said["problems"].as_array().unwrap().iter();
        let problems: Vec<&Value> = problems.filter(|it| !it["message"].as_str().unwrap().starts_with("Script not found")).collect();
        assert!(problems.is_empty(), "{name}: {problems:#?}");
        assert!(readme(name).lines().count() <= 30, "{name}/README.md is long");
        for section in ["Install", "Start", "Reload", "Look"] {
            assert!(!commands(name, section).is_empty(), "{name}: {section} is empty");
        }
        assert!(ours(name, "Start").contains(&"start".to_owned()), "{name}");
    }
}
