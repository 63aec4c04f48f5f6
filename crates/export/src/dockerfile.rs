//! Images: a Dockerfile for each, `.dockerignore`, and the file that ostler reads in them.

use std::path::Path;

use ostler_core::app::export_settings::Mirrors;
use ostler_core::message;

use crate::base::{Base, Packages, Requirements};
use crate::image::{self, Image};
use crate::project::joined;
use crate::service::Service;
use crate::yaml::Dialect;
use crate::{Plan, container, quote};

type Files = Vec<(String, String)>;

/// User and group of the processes in an image.
pub(crate) const USER: u32 = 1001;

/// Returns the files of `export dockerfile`, and the next commands for the user.
pub(crate) fn files(plan: &mut Plan<'_>) -> (Files, Vec<String>) {
    report_official_images(plan);
    let files = of_images(plan);
    let next = plan.images.iter().map(|image| {
        let named = if image.dockerfile == "Dockerfile" { String::new() } else { format!(" -f {}", image.dockerfile) };
        format!("docker build{named} -t {}:{} {}", image.name, plan.options.tag(), quote::sh(plan.options.context()))
    });
    let next = ostler_in_context(plan).into_iter().chain(next).collect();
    (files, next)
}

/// Returns the step that puts ostler into the context if no image contains it.
pub(crate) fn ostler_in_context(plan: &Plan<'_>) -> Option<String> {
    let is_needed = plan.options.ostler_image.is_none() && !plan.images.is_empty();
    is_needed.then(|| message!("cp <the static ostler binary> {folder}/ostler", folder = plan.options.context().trim_end_matches('/')))
}

/// Reports that servers with an official image need no build.
fn report_official_images(plan: &mut Plan<'_>) {
    let officials: Vec<(String, &str)> = plan
        .services
        .iter()
        .filter_map(|service| match &service.base {
            Base::Official(official) => Some((service.spec.name.clone(), official.image)),
            _ => None,
        })
        .collect();
    for (app, image) in officials {
        plan.report(&app, "script", message!("no image is built: it uses {image}", image));
    }
}

/// Returns all files that the images need.
pub(crate) fn of_images(plan: &Plan<'_>) -> Files {
    if plan.images.is_empty() {
        return Vec::new();
    }
    let mut files: Files = plan.images.iter().map(|image| (image.dockerfile.clone(), dockerfile(plan, image))).collect();
    files.push((".dockerignore".into(), ignored(plan)));
    let ours: Vec<&Service<'_>> = plan.services.iter().filter(|service| !service.has_official_image()).collect();
    files.push((
        container::FILE.into(),
        container::file(plan.project, &ours, |_| container::EngineAdditions::default()).text(Dialect::Plain),
    ));
    files
}

/// Text with a line for each instruction.
#[derive(Default)]
struct Instructions(String);

impl Instructions {
    fn line(&mut self, line: impl AsRef<str>) -> &mut Self {
        self.0.push_str(line.as_ref());
        self.0.push('\n');
        self
    }

    fn gap(&mut self) -> &mut Self {
        self.line("")
    }

    fn copy(&mut self, options: &str, from: &[String], to: &str) -> &mut Self {
        let words: Vec<&str> = from.iter().map(String::as_str).chain([to]).collect();
        if words.iter().all(|word| quote::docker_plain(word)) {
            return self.line(format!("COPY {options}{}", words.join(" ")));
        }
        let escaped: Vec<String> = words.iter().map(|word| quote::docker_text(word)).collect();
        self.line(format!("COPY {options}{}", quote::json(&escaped.iter().map(String::as_str).collect::<Vec<_>>())))
    }

    fn workdir(&mut self, path: &str) -> &mut Self {
        self.line(format!("WORKDIR {}", quote::docker_text(path)))
    }
}

/// Steps of the first stage, and the base of the second.
struct Recipe {
    build: String,
    run: String,
    /// Whether it belongs to the Alpine family, which has other commands for users.
    alpine: bool,
    /// Paths that the second stage copies, if it does not copy all of `/app`.
    takes: Vec<String>,
    env: Vec<(&'static str, &'static str)>,
}

fn dockerfile(plan: &Plan<'_>, image: &Image) -> String {
    let mut out = Instructions::default();
    let names: Vec<&str> = image.services.iter().map(String::as_str).collect();
    out.line(format!("# {}", quote::line(&names.join(", "))));
    out.gap();
    let folder = plan.project.folders.get(&image.folder);
    let has = |name: &str| folder.is_some_and(|folder| folder.files.contains(name));
    let existing =
        |names: &[&str]| -> Vec<String> { names.iter().filter(|name| has(name)).map(|name| joined(&image.folder, name)).collect() };
    let workdir = crate::project::below_app(&image.folder);
    let script = |name: &str| folder.and_then(|folder| folder.package.as_ref()).is_some_and(|package| package.scripts.contains(name));
    let scripts: Vec<String> = plan
        .services
        .iter()
        .filter(|service| image.services.contains(&service.name))
        .filter_map(|service| plan.project.inside(&service.spec.script).map(crate::project::below_app))
        .collect();
    let mut recipe = recipe(&image.base, &scripts);
    recipe.takes.extend(built_paths(plan, image));
    let mirrors = mirrors(plan, image);
    out.line(format!("FROM {} AS build", recipe.build));
    system_mirror(&mirrors, &recipe.build, &mut out);
    package_mirror(&mirrors, &image.base, &mut out);
    out.workdir(&workdir);
    match &image.base {
        Base::Node(_, packages) => {
            let is_workspace =
                folder.and_then(|folder| folder.package.as_ref()).is_some_and(|package| package.workspaces) || has("pnpm-workspace.yaml");
            node(&mut out, *packages, is_workspace, &existing, script("build"));
            if !recipe.takes.is_empty() {
                out.line("# The second stage copies node_modules, even if the app has no packages.");
                out.line("RUN mkdir -p node_modules");
            }
        }
        Base::Bun => {
            out.line("# The lock file first: packages stay in the cache until it changes.");
            out.copy("", &existing(&["package.json", "bun.lock", "bun.lockb"]), "./");
            out.line("RUN bun install --frozen-lockfile");
            out.line("COPY . /app/");
            if script("build") {
                out.line("RUN bun run build");
            }
            out.line("# Build-only dependencies are left out.");
            out.line("RUN rm -rf node_modules && bun install --frozen-lockfile --production");
        }
        Base::Deno => {
            out.copy("", &existing(&["deno.json", "deno.jsonc", "deno.lock"]), "./");
            out.line("COPY . /app/");
            for script in &scripts {
                out.line(format!("RUN {}", quote::json(&["deno", "cache", script])));
            }
        }
        Base::Python(requirements) => python(&mut out, *requirements, &existing),
        Base::Php => {
            out.line("COPY --from=composer:2 /usr/bin/composer /usr/local/bin/composer");
            let manifests = existing(&["composer.json", "composer.lock"]);
            if !manifests.is_empty() {
                out.line("# The lock file first: packages stay in the cache until it changes.");
                out.copy("", &manifests, "./");
                out.line("RUN composer install --no-dev --no-scripts --no-autoloader --no-interaction --prefer-dist");
            }
            out.line("COPY . /app/");
            if !manifests.is_empty() {
                out.line("RUN composer dump-autoload --no-dev --optimize --no-interaction");
            }
        }
        Base::Ruby => {
            let manifests = existing(&["Gemfile", "Gemfile.lock"]);
            if !manifests.is_empty() {
                out.line("# The lock file first: gems stay in the cache until it changes.");
                out.copy("", &manifests, "./");
                let deployment = if has("Gemfile.lock") { "bundle config set --local deployment true && " } else { "" };
                out.line(format!(
                    "RUN {deployment}bundle config set --local path /app/vendor/bundle && bundle config set --local without 'development test' && bundle install"
                ));
            }
            out.line("COPY . /app/");
        }
        Base::Go => {
            out.line("# The list of modules first: they stay cached until it changes.");
            out.copy("", &existing(&["go.mod", "go.sum"]), "./");
            out.line("RUN go mod download");
            out.line("COPY . /app/");
            for script in &scripts {
                out.line("# Adjust the last word where the main package is in another folder (./cmd/api).");
                out.line("ENV CGO_ENABLED=0");
                out.line(format!("RUN {}", quote::json(&["go", "build", "-trimpath", "-ldflags=-s -w", "-o", script, "."])));
            }
        }
        Base::Rust => {
            out.line("COPY . /app/");
            out.line(format!("RUN cargo build --release{}", if has("Cargo.lock") { " --locked" } else { "" }));
        }
        Base::Shell | Base::Perl | Base::Java | Base::Binary | Base::Files | Base::Official(_) => {
            out.line("COPY . /app/");
        }
    }
    if plan.options.ostler_image.is_none() && recipe.takes.is_empty() {
        out.line("# It belongs only in the second stage.");
        out.line("RUN rm -f /app/ostler");
    }
    second_stage(plan, image, &recipe, &mut out);
    out.0
}

fn second_stage(plan: &Plan<'_>, image: &Image, recipe: &Recipe, out: &mut Instructions) {
    out.gap();
    out.line(format!("FROM {}", recipe.run));
    system_mirror(&mirrors(plan, image), &recipe.run, out);
    out.line("# An unprivileged user with no files of its own. The number is what Kubernetes checks.");
    if recipe.alpine {
        out.line(format!("RUN addgroup -S -g {USER} app && adduser -S -D -H -u {USER} -G app app"));
    } else {
        out.line(format!("RUN groupadd --system --gid {USER} app && useradd --system --no-create-home --uid {USER} --gid {USER} app"));
    }
    match &plan.options.ostler_image {
        Some(image) => out.line(format!("COPY --from={image} --chmod=755 /ostler /usr/local/bin/ostler")),
        None => {
            out.line("# The static ostler binary; copy it into this folder.");
            out.line("COPY --chmod=755 ostler /usr/local/bin/ostler")
        }
    };
    out.line("WORKDIR /app");
    if recipe.takes.is_empty() {
        out.line("# Files belong to root: the app cannot change them. If the app writes beside its code, add --chown=1001:1001.");
        out.line("COPY --from=build /app ./");
    } else {
        out.line("# Only what was built. If the app reads other files (templates, assets), add them here.");
        for path in &recipe.takes {
            out.copy("--from=build ", std::slice::from_ref(path), path);
        }
        out.line(format!("COPY {} ./", container::FILE));
    }
    if matches!(image.base, Base::Python(_)) {
        out.line("COPY --from=build /venv /venv");
    }
    if matches!(image.base, Base::Deno) {
        out.line("COPY --from=build /deno-dir /deno-dir");
    }
    out.line(format!("USER {USER}:{USER}"));
    let env: Vec<String> =
        recipe.env.iter().map(|(name, value)| format!("{name}={value}")).chain(["OSTLER_HOME=/tmp/.ostler".to_owned()]).collect();
    out.line(format!("ENV {}", env.join(" ")));
    let mut ports: Vec<u16> =
        plan.services.iter().filter(|service| image.services.contains(&service.name)).flat_map(|service| service.ports.clone()).collect();
    ports.sort_unstable();
    ports.dedup();
    for port in ports {
        out.line(format!("EXPOSE {port}"));
    }
    out.gap();
    if image::has_server(image, &plan.services) {
        let start = start_seconds(plan, image);
        out.line(format!("HEALTHCHECK --interval=30s --timeout=5s --start-period={start}s --retries=3 CMD [\"ostler\", \"health\"]"));
    }
    out.line("# Process 1: forwards signals with the app's own grace period, reaps orphans, exits with the app's exit code.");
    let command = ["ostler", "runtime", container::FILE];
    if plan.images.len() == 1 {
        out.line(format!("CMD {}", quote::json(&command)));
    } else {
        let only = image.services.join(",");
        out.line(format!("CMD {}", quote::json(&[&command[..], &["--only", &only]].concat())));
    }
}

/// Output folders of builds of Node apps.
const OUTPUTS: &[&str] = &["dist", "build", "lib", "out", ".output"];
/// Folders with files that apps read while they run.
const READ: &[&str] = &["public", "static", "assets", "views", "templates", "locales", "config", "prisma", "drizzle", "migrations"];

/// Returns the paths that the second stage copies for a Node app whose scripts are all built; none
/// = everything.
fn built_paths(plan: &Plan<'_>, image: &Image) -> Vec<String> {
    let Some(folder) = plan.project.folders.get(&image.folder) else { return Vec::new() };
    let is_plain = matches!(image.base, Base::Node(_, Packages::Npm | Packages::Pnpm | Packages::Yarn | Packages::Unlocked));
    let is_single = folder.package.as_ref().is_some_and(|package| package.scripts.contains("build") && !package.workspaces);
    if !is_plain || !is_single || folder.files.contains("pnpm-workspace.yaml") {
        return Vec::new();
    }
    let mut outputs: Vec<&str> = Vec::new();
    for service in plan.services.iter().filter(|service| image.services.contains(&service.name)) {
        let script = plan.project.inside(&service.spec.script).and_then(|script| Path::new(script).strip_prefix(&image.folder).ok());
        let first = script.and_then(|script| script.iter().next()?.to_str());
        match first.filter(|first| OUTPUTS.contains(first) && service.folder == image.folder && !service.spec.shell) {
            Some(first) if outputs.contains(&first) => {}
            Some(first) => outputs.push(first),
            None => return Vec::new(),
        }
    }
    let read = READ.iter().copied().filter(|name| folder.files.contains(*name));
    let all = outputs.into_iter().chain(["node_modules", "package.json"]).chain(read);
    all.map(|name| crate::project::below_app(&joined(&image.folder, name))).collect()
}

/// Returns the mirrors for an image: those of its first app that sets any.
fn mirrors(plan: &Plan<'_>, image: &Image) -> Mirrors {
    let mut own = plan.services.iter().filter(|service| image.services.contains(&service.name)).map(|service| &service.settings.mirrors);
    own.find(|mirrors| **mirrors != Mirrors::default()).cloned().unwrap_or_default()
}

/// Makes the package manager of the system use a mirror.
fn system_mirror(mirrors: &Mirrors, image: &str, out: &mut Instructions) {
    if image.contains("alpine") {
        if let Some(host) = &mirrors.alpine {
            out.line(format!("ARG ALPINE_MIRROR={host}"));
            out.line("RUN sed -i \"s|dl-cdn.alpinelinux.org|$ALPINE_MIRROR|g\" /etc/apk/repositories");
        }
    } else if let Some(host) = &mirrors.debian {
        out.line(format!("ARG DEBIAN_MIRROR={host}"));
        out.line("RUN sed -i \"s|deb.debian.org|$DEBIAN_MIRROR|g\" /etc/apt/sources.list.d/debian.sources");
    }
}

/// Makes the package managers of the language use a mirror.
fn package_mirror(mirrors: &Mirrors, base: &Base, out: &mut Instructions) {
    match base {
        Base::Node(..) | Base::Bun => {
            if let Some(registry) = &mirrors.npm {
                out.line("# For npm, pnpm, Yarn, Bun and corepack. Override it with `--build-arg NPM_REGISTRY=…`.");
                out.line(format!("ARG NPM_REGISTRY={registry}"));
                out.line(
                    "ENV npm_config_registry=$NPM_REGISTRY YARN_REGISTRY=$NPM_REGISTRY YARN_NPM_REGISTRY_SERVER=$NPM_REGISTRY COREPACK_NPM_REGISTRY=$NPM_REGISTRY",
                );
            }
        }
        Base::Python(_) => {
            if let Some(index) = &mirrors.pip {
                out.line("# For pip and uv. Override it with `--build-arg PIP_INDEX=…`.");
                out.line(format!("ARG PIP_INDEX={index}"));
                out.line("ENV PIP_INDEX_URL=$PIP_INDEX UV_DEFAULT_INDEX=$PIP_INDEX");
            }
        }
        _ => {}
    }
}

/// Returns the time for a start before bad answers count.
fn start_seconds(plan: &Plan<'_>, image: &Image) -> u64 {
    let of = |service: &Service<'_>| {
        let grace = service.spec.health().and_then(|health| health.grace_ms);
        service.spec.ready.listen_timeout_ms.max(grace).unwrap_or(10_000)
    };
    let all = plan.services.iter().filter(|service| image.services.contains(&service.name)).map(of);
    all.max().unwrap_or(10_000).div_ceil(1000).clamp(1, 3600)
}

fn recipe(base: &Base, scripts: &[String]) -> Recipe {
    let two = |build: &str, run: &str| Recipe {
        build: build.to_owned(),
        run: run.to_owned(),
        alpine: run.contains("alpine"),
        takes: Vec::new(),
        env: Vec::new(),
    };
    let one = |image: &str| two(image, image);
    match base {
        Base::Node(version, _) => {
            let tag = format!("{version}-alpine");
            Recipe { env: vec![("NODE_ENV", "production")], ..one(&format!("node:{tag}")) }
        }
        Base::Bun => Recipe { env: vec![("NODE_ENV", "production")], ..one("oven/bun:1-alpine") },
        Base::Deno => Recipe { env: vec![("DENO_DIR", "/deno-dir"), ("DENO_NO_UPDATE_CHECK", "1")], ..one("denoland/deno:alpine") },
        Base::Python(_) => Recipe {
            env: vec![("PATH", "/venv/bin:$PATH"), ("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1")],
            ..one("python:3.13-slim")
        },
        Base::Php => one("php:8.4-cli-alpine"),
        // Gems with C extensions need a compiler, which the small image lacks.
        Base::Ruby => Recipe {
            env: vec![("RACK_ENV", "production"), ("RAILS_ENV", "production"), ("BUNDLE_PATH", "/app/vendor/bundle")],
            ..two("ruby:3.4", "ruby:3.4-slim")
        },
        Base::Go => Recipe { takes: scripts.to_vec(), ..two("golang:1-alpine", "alpine:3") },
        Base::Rust => Recipe { takes: scripts.to_vec(), ..two("rust:1-slim-bookworm", "debian:bookworm-slim") },
        Base::Perl => one("perl:5-slim"),
        Base::Java => one("eclipse-temurin:21-jre-alpine"),
        Base::Files | Base::Official(_) => one("alpine:3"),
        Base::Shell | Base::Binary => one("debian:bookworm-slim"),
    }
}

fn node(out: &mut Instructions, packages: Packages, is_workspace: bool, existing: &dyn Fn(&[&str]) -> Vec<String>, builds: bool) {
    if packages == Packages::None {
        out.line("COPY . /app/");
        return;
    }
    let lock = [
        "package.json",
        "package-lock.json",
        "npm-shrinkwrap.json",
        ".npmrc",
        "pnpm-lock.yaml",
        ".pnpmfile.cjs",
        "yarn.lock",
        ".yarnrc.yml",
    ];
    if is_workspace {
        out.line("# Each workspace has its own package.json, so everything must be copied before the packages are installed.");
        out.line("COPY . /app/");
    } else {
        out.line("# The lock file first: packages stay in the cache until it changes.");
        out.copy("", &existing(&lock), "./");
    }
    let (install, run, prune) = match packages {
        Packages::Npm => ("npm ci", "npm run build", "npm prune --omit=dev"),
        Packages::Pnpm => ("corepack enable && pnpm install --frozen-lockfile", "pnpm run build", "CI=true pnpm prune --prod"),
        Packages::Yarn => (
            "yarn install --frozen-lockfile",
            "yarn run build",
            "yarn install --frozen-lockfile --production --ignore-scripts --prefer-offline",
        ),
        Packages::YarnBerry => ("corepack enable && yarn install --immutable", "yarn run build", ""),
        Packages::Unlocked | Packages::None => ("npm install --no-audit --no-fund", "npm run build", "npm prune --omit=dev"),
    };
    if packages == Packages::Unlocked {
        out.line("# There is no lock file: each build may install other versions.");
    }
    out.line(format!("RUN {install}"));
    if !is_workspace {
        out.line("COPY . /app/");
    }
    if builds {
        out.line(format!("RUN {run}"));
    }
    if prune.is_empty() {
        out.line("# Build-only packages stay; `yarn workspaces focus --production` (a plugin) removes them.");
    } else {
        out.line("# Build-only dependencies are left out.");
        out.line(format!("RUN {prune}"));
    }
}

fn python(out: &mut Instructions, requirements: Requirements, existing: &dyn Fn(&[&str]) -> Vec<String>) {
    out.line("# Packages go into their own folder, which the second stage copies as a whole.");
    out.line("RUN python -m venv /venv");
    out.line("ENV PATH=/venv/bin:$PATH VIRTUAL_ENV=/venv");
    let (names, install): (&[&str], &str) = match requirements {
        Requirements::Pip => (&["requirements.txt"], "pip install --no-cache-dir -r requirements.txt"),
        Requirements::Uv => (
            &["pyproject.toml", "uv.lock"],
            "pip install --no-cache-dir uv && UV_PROJECT_ENVIRONMENT=/venv uv sync --frozen --no-dev --no-install-project --no-cache --inexact",
        ),
        Requirements::Poetry => {
            (&["pyproject.toml", "poetry.lock"], "pip install --no-cache-dir poetry && poetry install --only main --no-root --no-cache")
        }
        Requirements::Pipenv => (
            &["Pipfile", "Pipfile.lock"],
            "pip install --no-cache-dir pipenv && pipenv requirements > /tmp/requirements.txt && pip install --no-cache-dir -r /tmp/requirements.txt",
        ),
        Requirements::Project | Requirements::None => (&[], ""),
    };
    if !names.is_empty() {
        out.line("# The list of packages first: they stay cached until it changes.");
        out.copy("", &existing(names), "./");
        out.line(format!("RUN {install}"));
    }
    out.line("COPY . /app/");
    if requirements == Requirements::Project {
        out.line("RUN pip install --no-cache-dir .");
    }
}

/// Returns the files that an image never gets: they are built there, are secret, or belong to
/// another image.
fn ignored(plan: &Plan<'_>) -> String {
    let mut lines = vec![
        "# Version control, editors",
        ".git",
        ".gitignore",
        ".github",
        ".gitlab-ci.yml",
        ".idea",
        ".vscode",
        "# Secrets come from the engine, never from an image",
        ".env",
        ".env.*",
        "**/.env",
        "**/.env.*",
        "*.pem",
        "*.key",
        "**/*.pem",
        "**/*.key",
        "# Logs and process ids",
        "logs",
        "**/logs",
        "**/*.log",
        "**/*.pid",
        "# Deployment files",
        "Dockerfile*",
        "**/Dockerfile*",
        "compose*.y*ml",
        "docker-compose*.y*ml",
        "stack.yaml",
        "ostler.compose.yaml",
        "ostler.stack.yaml",
        "k8s",
        "helm",
        "nomad",
        "systemd",
    ];
    let has = |test: fn(&Base) -> bool| plan.images.iter().any(|image| test(&image.base));
    if has(|base| matches!(base, Base::Node(..) | Base::Bun | Base::Deno)) {
        lines.extend([
            "# Node: installed in the image, for its system",
            "node_modules",
            "**/node_modules",
            "coverage",
            ".npm",
            "npm-debug.log*",
        ]);
    }
    if has(|base| matches!(base, Base::Python(_))) {
        lines.extend(["# Python", "**/__pycache__", "**/*.py[cod]", ".venv", "venv", ".pytest_cache", ".mypy_cache", ".tox"]);
    }
    if has(|base| matches!(base, Base::Php)) {
        lines.extend(["# PHP: installed in the image", "vendor", "**/vendor"]);
    }
    if has(|base| matches!(base, Base::Ruby)) {
        lines.extend(["# Ruby: installed in the image", "vendor/bundle", ".bundle", "tmp"]);
    }
    if has(|base| matches!(base, Base::Rust)) {
        lines.extend(["# Rust: built in the image", "target", "**/target"]);
    }
    lines.join("\n") + "\n"
}
