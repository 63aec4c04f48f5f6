//! Base of an app: the language, its package manager, or a server with an official image.

use ostler_core::app::AppSpec;

use crate::project::{Folder, Project};

/// Default version of Node.
const NODE: u32 = 24;

/// Base of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Base {
    /// Node of this major version, with the package manager.
    Node(u32, Packages),
    Bun,
    Deno,
    Python(Requirements),
    Php,
    Ruby,
    Perl,
    Java,
    /// A Go program that is built in the project.
    Go,
    /// A Rust program that is built in the project.
    Rust,
    /// A script of a shell.
    Shell,
    /// An existing program.
    Binary,
    /// ostler's own file server.
    Files,
    /// A server with an official image.
    Official(&'static Official),
}

/// Package manager of Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Packages {
    Npm,
    Pnpm,
    Yarn,
    YarnBerry,
    /// A `package.json` without a lock file.
    Unlocked,
    /// No packages.
    None,
}

/// How a Python app lists its packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Requirements {
    Pip,
    Uv,
    Poetry,
    Pipenv,
    Project,
    None,
}

/// A server that is usually run from its official image.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Official {
    /// Program by which an ecosystem file starts it.
    pub program: &'static str,
    pub image: &'static str,
    pub port: u16,
    /// Folder of its persistent data.
    pub data: Option<&'static str>,
    /// Command that exits with 0 if the server is healthy.
    pub health: Option<&'static str>,
    /// Variable that the image needs to start.
    pub password: Option<&'static str>,
}

const fn official(
    program: &'static str,
    image: &'static str,
    port: u16,
    data: Option<&'static str>,
    health: Option<&'static str>,
) -> Official {
    Official { program, image, port, data, health, password: None }
}

pub(crate) static OFFICIAL: &[Official] = &[
    official("redis-server", "redis:7-alpine", 6379, Some("/data"), Some("redis-cli ping")),
    official("valkey-server", "valkey/valkey:8-alpine", 6379, Some("/data"), Some("valkey-cli ping")),
    official("memcached", "memcached:1-alpine", 11211, None, None),
    official("nginx", "nginx:1-alpine", 80, None, Some("wget -q -O /dev/null http://127.0.0.1/ || nginx -t")),
    official("caddy", "caddy:2-alpine", 80, Some("/data"), None),
    official("mongod", "mongo:8", 27017, Some("/data/db"), Some("mongosh --quiet --eval 'db.runCommand(\"ping\").ok'")),
    official("rabbitmq-server", "rabbitmq:4-alpine", 5672, Some("/var/lib/rabbitmq"), Some("rabbitmq-diagnostics -q ping")),
    Official {
        password: Some("POSTGRES_PASSWORD"),
        ..official("postgres", "postgres:17-alpine", 5432, Some("/var/lib/postgresql/data"), Some("pg_isready -U postgres"))
    },
    Official {
        password: Some("MYSQL_ROOT_PASSWORD"),
        ..official("mysqld", "mysql:8", 3306, Some("/var/lib/mysql"), Some("mysqladmin ping -h 127.0.0.1"))
    },
    Official {
        password: Some("MARIADB_ROOT_PASSWORD"),
        ..official("mariadbd", "mariadb:11", 3306, Some("/var/lib/mysql"), Some("healthcheck.sh --connect --innodb_initialized"))
    },
];

impl Base {
    /// Returns its word in names of images.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Node(..) => "node",
            Self::Bun => "bun",
            Self::Deno => "deno",
            Self::Python(_) => "python",
            Self::Php => "php",
            Self::Ruby => "ruby",
            Self::Perl => "perl",
            Self::Java => "java",
            Self::Go => "go",
            Self::Rust => "rust",
            Self::Shell => "shell",
            Self::Binary => "program",
            Self::Files => "files",
            Self::Official(official) => official.program,
        }
    }

    /// Returns the port of a server with a fixed port.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Official(official) => Some(official.port),
            _ => None,
        }
    }

    /// Returns the files that list its packages: the packages are installed in the folder with one
    /// of them.
    pub(crate) fn manifests(&self) -> &'static [&'static str] {
        match self {
            Self::Node(..) | Self::Bun => {
                &["package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb", "package.json"]
            }
            Self::Deno => &["deno.json", "deno.jsonc"],
            Self::Python(_) => &["uv.lock", "poetry.lock", "Pipfile.lock", "requirements.txt", "pyproject.toml"],
            Self::Php => &["composer.json"],
            Self::Ruby => &["Gemfile"],
            Self::Go => &["go.mod"],
            Self::Rust => &["Cargo.lock", "Cargo.toml"],
            _ => &[],
        }
    }
}

/// Returns the base of an app in this folder of the project.
pub(crate) fn of(spec: &AppSpec, project: &Project, folder: &str) -> Base {
    if spec.given.open().get("script").and_then(|script| script.as_str()) == Some("serve") && project.inside(&spec.script).is_none() {
        return Base::Files;
    }
    if spec.shell {
        let text = spec.args.get(1).map(String::as_str).unwrap_or_default();
        let words = text.split_whitespace().filter(|word| !word.contains('='));
        let named = words.map(last_part).find_map(|word| language(word, project, folder));
        return named.or_else(|| by_files(project, folder)).unwrap_or(Base::Shell);
    }
    if let Some(version) = named_version(spec) {
        return match node(project, folder) {
            Base::Node(_, packages) => Base::Node(version, packages),
            other => other,
        };
    }
    if let Some(interpreter) = &spec.interpreter {
        return language(last_part(interpreter), project, folder).unwrap_or(Base::Shell);
    }
    let program = last_part(&spec.script);
    match project.inside(&spec.script) {
        None => {
            let official = OFFICIAL.iter().find(|official| official.program == program).map(Base::Official);
            official.or_else(|| language(program, project, folder)).unwrap_or(Base::Binary)
        }
        Some(inside) if inside.contains("node_modules/") => node(project, folder),
        Some(inside) if inside.contains("venv/bin/") => Base::Python(requirements(project, folder)),
        Some(_) if project.folder_with(folder, &["go.mod"]).is_some() => Base::Go,
        Some(_) if project.folder_with(folder, &["Cargo.toml"]).is_some() => Base::Rust,
        Some(_) => Base::Binary,
    }
}

/// Returns the version in `interpreter: 'node@20'`.
fn named_version(spec: &AppSpec) -> Option<u32> {
    let given = spec.given.open();
    let version = given.get("exec_interpreter")?.as_str()?.strip_prefix("node@")?;
    version.trim_start_matches('v').split('.').next()?.parse().ok().filter(|major| (12..100).contains(major))
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns the language of a program's name.
fn language(program: &str, project: &Project, folder: &str) -> Option<Base> {
    let bare = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    Some(match bare {
        "node" | "nodejs" | "npm" | "npx" | "pnpm" | "yarn" | "next" | "nest" | "nuxt" | "vite" | "tsx" | "ts-node" | "coffee" | "lsc" => {
            node(project, folder)
        }
        "bun" | "bunx" => Base::Bun,
        "deno" => Base::Deno,
        "python" | "uvicorn" | "gunicorn" | "hypercorn" | "daphne" | "flask" | "celery" | "django-admin" | "uv" | "poetry" | "pipenv"
        | "fastapi" => Base::Python(requirements(project, folder)),
        "php" | "artisan" | "composer" => Base::Php,
        "ruby" | "bundle" | "rails" | "rake" | "puma" | "rackup" | "sidekiq" => Base::Ruby,
        "perl" => Base::Perl,
        "java" => Base::Java,
        "go" => Base::Go,
        "cargo" => Base::Rust,
        _ => return None,
    })
}

fn by_files(project: &Project, folder: &str) -> Option<Base> {
    let has = |names: &[&str]| project.folder_with(folder, names).is_some();
    if has(&["package.json"]) {
        Some(node(project, folder))
    } else if has(&["requirements.txt", "pyproject.toml", "Pipfile"]) {
        Some(Base::Python(requirements(project, folder)))
    } else if has(&["composer.json"]) {
        Some(Base::Php)
    } else if has(&["Gemfile"]) {
        Some(Base::Ruby)
    } else {
        None
    }
}

fn node(project: &Project, folder: &str) -> Base {
    let found = project.folder_with(folder, Base::Node(0, Packages::None).manifests());
    let files = found.map(|(_, folder)| &folder.files);
    let has = |name: &str| files.is_some_and(|files| files.contains(name));
    let packages = if has("package-lock.json") || has("npm-shrinkwrap.json") {
        Packages::Npm
    } else if has("pnpm-lock.yaml") {
        Packages::Pnpm
    } else if has("yarn.lock") {
        if has(".yarnrc.yml") { Packages::YarnBerry } else { Packages::Yarn }
    } else if has("package.json") {
        Packages::Unlocked
    } else {
        Packages::None
    };
    Base::Node(found.and_then(|(_, folder)| node_version(folder)).unwrap_or(NODE), packages)
}

/// Returns the major version in `.nvmrc`, or else the first number of `engines.node`.
fn node_version(folder: &Folder) -> Option<u32> {
    let first = |text: &String| text.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok();
    let named = folder.node_version.as_ref().and_then(first).or_else(|| folder.package.as_ref()?.node.as_ref().and_then(first));
    named.filter(|major| (12..100).contains(major))
}

fn requirements(project: &Project, folder: &str) -> Requirements {
    let has = |name: &str| project.folder_with(folder, &[name]).is_some();
    if has("uv.lock") {
        Requirements::Uv
    } else if has("poetry.lock") {
        Requirements::Poetry
    } else if has("Pipfile.lock") {
        Requirements::Pipenv
    } else if has("requirements.txt") {
        Requirements::Pip
    } else if has("pyproject.toml") {
        Requirements::Project
    } else {
        Requirements::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Package;

    fn project(files: &[&str]) -> Project {
        let folder = Folder { files: files.iter().map(|file| (*file).to_owned()).collect(), ..Folder::default() };
        Project { dir: "/p".into(), folders: [(String::new(), folder)].into(), ..Project::default() }
    }

    fn app(interpreter: Option<&str>, script: &str) -> AppSpec {
        AppSpec { interpreter: interpreter.map(str::to_owned), script: script.into(), cwd: "/p".into(), ..AppSpec::default() }
    }

    #[test]
    fn base_image_follows_from_interpreter_and_files() {
        let shell = |text: &str| AppSpec { shell: true, args: vec!["-c".into(), text.into()], ..app(None, "/bin/sh") };
        for (spec, files, base) in [
            (app(Some("node"), "/p/a.js"), &["package.json", "pnpm-lock.yaml"][..], Base::Node(NODE, Packages::Pnpm)),
            (app(Some("/usr/bin/python3.11"), "/p/a.py"), &["requirements.txt"], Base::Python(Requirements::Pip)),
            (app(Some("bun"), "/p/a.ts"), &[], Base::Bun),
            (app(Some("bash"), "/p/a.sh"), &[], Base::Shell),
            (app(None, "/p/bin/api"), &["go.mod"], Base::Go),
            (app(None, "/p/target/release/api"), &["Cargo.toml"], Base::Rust),
            (app(None, "/p/bin/api"), &[], Base::Binary),
            (app(None, "/usr/bin/htop"), &[], Base::Binary),
            (app(None, "/p/.venv/bin/uvicorn"), &[], Base::Python(Requirements::None)),
            (shell("NODE_ENV=x npm start"), &["package.json"], Base::Node(NODE, Packages::Unlocked)),
            (shell("./run.sh"), &["Gemfile"], Base::Ruby),
            (shell("true && false"), &[], Base::Shell),
        ] {
            assert_eq!(of(&spec, &project(files), ""), base, "{spec:?}");
        }
        assert_eq!(of(&app(None, "/usr/bin/redis-server"), &project(&[]), "").port(), Some(6379));
    }

    #[test]
    fn node_version_reads_nvmrc_then_engines() {
        let folder = |nvmrc: Option<&str>, engines: Option<&str>| Folder {
            node_version: nvmrc.map(str::to_owned),
            package: Some(Package { node: engines.map(str::to_owned), ..Package::default() }),
            ..Folder::default()
        };
        for (nvmrc, engines, version) in [
            (Some("v20.11.1"), Some(">=18"), Some(20)),
            (Some("lts/*"), Some("^22.3 || 24"), Some(22)),
            (None, Some("x"), None),
            (None, Some(">=99999999999"), None),
            (None, None, None),
        ] {
            assert_eq!(node_version(&folder(nvmrc, engines)), version);
        }
    }
}
