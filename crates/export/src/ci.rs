//! Pipelines: build and test, image, deployment, and rollback.
//!
//! Of the ecosystem file, only labels get into a script. Values that differ between installations
//! are variables of the pipeline.

use ostler_core::message;

use crate::Plan;
use crate::base::{Base, Packages, Requirements};
use crate::image::Image;
use crate::service::Lifecycle;
use crate::yaml::{Dialect, Map, Yaml};

type CiOutput = (Vec<(String, String)>, Vec<String>);

/// Returns `.github/workflows/deploy.yml`.
pub(crate) fn github(plan: &mut Plan<'_>) -> CiOutput {
    let mut map = Map::new().with("name", "deploy");
    // Some readers of YAML treat a plain `on` as true; in quotes, it is the intended key.
    let mut inputs = Map::new();
    inputs.put(
        "rollback",
        Map::new().with("description", "Roll back to the previous release").with("type", "boolean").with("default", false),
    );
    let on = Map::new()
        .with("push", Map::new().with("branches", Yaml::words(["main"])))
        .with("pull_request", Map::new())
        .with("workflow_dispatch", Map::new().with("inputs", inputs));
    map.put("on", on);
    map.put("permissions", Map::new().with("contents", "read").with("packages", "write"));
    map.comment("One deployment at a time; a newer push cancels the tests of an older one.");
    let is_deploying = Yaml::Reference("${{ github.ref != 'refs/heads/main' }}".into());
    map.put(
        "concurrency",
        Map::new().with("group", Yaml::Reference("deploy-${{ github.ref }}".into())).with("cancel-in-progress", is_deploying),
    );
    map.comment("Registry to log in to, and the path in front of the image names. Variables of the repository override both.");
    let mut env = Map::new();
    let (registry, path) = places(plan);
    env.put("REGISTRY", Yaml::Reference(format!("${{{{ vars.REGISTRY || '{registry}' }}}}")));
    env.put("IMAGES", Yaml::Reference(format!("${{{{ vars.IMAGES || {path} }}}}")));
    map.put("env", env);
    let mut jobs = Map::new();
    let mut test = Map::new();
    test.put("if", "${{ !inputs.rollback }}").put("runs-on", "ubuntu-latest");
    let mut steps = vec![uses("actions/checkout@v4", Map::new())];
    for image in &plan.images {
        steps.extend(github_setup(image));
        let commands = commands(plan, image);
        if !commands.is_empty() {
            let mut step = Map::new().with("name", format!("Build and test ({})", image.base.word()));
            if !image.folder.is_empty() {
                step.put("working-directory", &image.folder);
            }
            step.put("run", commands.join("\n"));
            steps.push(step.into());
        }
    }
    test.put("steps", steps);
    jobs.put("test", test);
    jobs.put("image", github_image(plan));
    jobs.put("deploy", github_deploy(plan));
    jobs.put("rollback", github_rollback(plan));
    map.put("jobs", jobs);
    let next = vec![
        "gh secret set KUBE_CONFIG < kubeconfig".to_owned(),
        message!("gh variable set OSTLER_URL --body <address of the static ostler binary>"),
    ];
    (vec![(".github/workflows/deploy.yml".into(), map.text(Dialect::Plain))], next)
}

/// Returns the registry of images that name one, and the expression for the path before their last
/// part; otherwise those of the host of the repository.
fn places(plan: &Plan<'_>) -> (String, String) {
    let named = plan.options.image.as_ref().and_then(|image| image.rsplit_once('/')).map(|(path, _)| path);
    let registry =
        named.map(|path| path.split('/').next().unwrap_or_default()).filter(|first| first.contains(['.', ':']) || *first == "localhost");
    match (registry, named) {
        (Some(registry), Some(path)) => (registry.to_owned(), format!("'{path}'")),
        (None, Some(path)) => ("docker.io".to_owned(), format!("'docker.io/{path}'")),
        _ => ("ghcr.io".to_owned(), "format('ghcr.io/{0}', github.repository_owner)".to_owned()),
    }
}

fn uses(action: &str, with: Map) -> Yaml {
    let mut step = Map::new().with("uses", action);
    step.put_filled("with", with);
    step.into()
}

/// Returns the step that installs the language.
fn github_setup(image: &Image) -> Vec<Yaml> {
    let lock_in = |with: Map| if image.folder.is_empty() { with } else { with.with("cache-dependency-path", &image.folder) };
    match &image.base {
        Base::Node(version, packages) => {
            let mut with = Map::new().with("node-version", version.to_string());
            let cache = match packages {
                Packages::Npm => Some("npm"),
                Packages::Pnpm => Some("pnpm"),
                Packages::Yarn | Packages::YarnBerry => Some("yarn"),
                Packages::Unlocked | Packages::None => None,
            };
            if let Some(cache) = cache {
                with = lock_in(with.with("cache", cache));
            }
            let mut steps = Vec::new();
            if matches!(packages, Packages::Pnpm) {
                steps.push(uses("pnpm/action-setup@v4", Map::new()));
            }
            steps.push(uses("actions/setup-node@v4", with));
            steps
        }
        Base::Bun => vec![uses("oven-sh/setup-bun@v2", Map::new())],
        Base::Deno => vec![uses("denoland/setup-deno@v2", Map::new())],
        Base::Python(_) => vec![uses("actions/setup-python@v5", Map::new().with("python-version", "3.13"))],
        Base::Php => vec![uses("shivammathur/setup-php@v2", Map::new().with("php-version", "8.4").with("tools", "composer"))],
        Base::Ruby => vec![uses("ruby/setup-ruby@v1", Map::new().with("ruby-version", "3.4").with("bundler-cache", true))],
        Base::Go => vec![uses("actions/setup-go@v5", Map::new().with("go-version", "stable"))],
        _ => Vec::new(),
    }
}

/// Returns the commands that install, build and test the folder of an image.
fn commands(plan: &Plan<'_>, image: &Image) -> Vec<String> {
    let package = plan.project.folders.get(&image.folder).and_then(|folder| folder.package.as_ref());
    let scripts = |run: &str| -> Vec<String> {
        let has = |name: &&str| package.is_some_and(|package| package.scripts.contains(*name));
        ["lint", "build", "test"].into_iter().filter(has).map(|name| format!("{run} {name}")).collect()
    };
    let list = |first: &str, run: &str| -> Vec<String> { std::iter::once(first.to_owned()).chain(scripts(run)).collect() };
    let fixed = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    match &image.base {
        Base::Node(_, Packages::Npm) => list("npm ci", "npm run"),
        Base::Node(_, Packages::Pnpm) => list("pnpm install --frozen-lockfile", "pnpm run"),
        Base::Node(_, Packages::Yarn) => list("yarn install --frozen-lockfile", "yarn run"),
        Base::Node(_, Packages::YarnBerry) => list("corepack enable && yarn install --immutable", "yarn run"),
        Base::Node(_, Packages::Unlocked) => list("npm install --no-audit --no-fund", "npm run"),
        Base::Bun => list("bun install --frozen-lockfile", "bun run"),
        Base::Deno => fixed(&["deno test --allow-all --permit-no-files"]),
        Base::Python(requirements) => {
            let install = match requirements {
                Requirements::Pip => "pip install -r requirements.txt",
                Requirements::Uv => "pip install uv && uv sync --frozen",
                Requirements::Poetry => "pip install poetry && poetry install --no-root",
                Requirements::Pipenv => "pip install pipenv && pipenv sync --dev",
                Requirements::Project => "pip install .",
                Requirements::None => "true",
            };
            let prefix = match requirements {
                Requirements::Uv => "uv run ",
                Requirements::Poetry => "poetry run ",
                Requirements::Pipenv => "pipenv run ",
                _ => "",
            };
            fixed(&[install, &format!("{prefix}python -m compileall -q .")])
        }
        Base::Php => {
            fixed(&["composer install --no-interaction --prefer-dist", "if [ -x vendor/bin/phpunit ]; then vendor/bin/phpunit; fi"])
        }
        Base::Ruby => fixed(&["bundle exec rake -P >/dev/null && bundle exec rake"]),
        Base::Go => fixed(&["go vet ./...", "go test ./..."]),
        Base::Rust => fixed(&["cargo test --locked"]),
        _ => Vec::new(),
    }
}

/// Returns the command that puts ostler into the context if no image contains it.
fn fetch_ostler() -> &'static str {
    "curl -fsSL \"$OSTLER_URL\" -o ostler && chmod +x ostler"
}

fn name_of(image: &Image) -> &str {
    image.name.rsplit('/').next().unwrap_or(&image.name)
}

fn github_image(plan: &Plan<'_>) -> Map {
    let mut job = Map::new();
    job.put("needs", "test").put("if", "${{ github.ref == 'refs/heads/main' && !inputs.rollback }}").put("runs-on", "ubuntu-latest");
    let mut steps = vec![uses("actions/checkout@v4", Map::new())];
    if plan.options.ostler_image.is_none() {
        let mut step = Map::new().with("name", "The static ostler binary, which the Dockerfile copies");
        step.put("env", Map::new().with("OSTLER_URL", Yaml::Reference("${{ vars.OSTLER_URL }}".into()))).put("run", fetch_ostler());
        steps.push(step.into());
    }
    steps.push(uses("docker/setup-buildx-action@v3", Map::new()));
    let login = Map::new()
        .with("registry", Yaml::Reference("${{ env.REGISTRY }}".into()))
        .with("username", Yaml::Reference("${{ secrets.REGISTRY_USER || github.actor }}".into()))
        .with("password", Yaml::Reference("${{ secrets.REGISTRY_PASSWORD || secrets.GITHUB_TOKEN }}".into()));
    steps.push(uses("docker/login-action@v3", login));
    for image in &plan.images {
        let tag = |tag: &str| format!("${{{{ env.IMAGES }}}}/{}:{tag}", name_of(image));
        let mut with = Map::new().with("context", ".").with("file", &image.dockerfile).with("push", true);
        with.comment("The commit is the version: the tag never changes.");
        with.put("tags", Yaml::Reference(format!("{},{}", tag("${{ github.sha }}"), tag("latest"))));
        with.put("cache-from", format!("type=gha,scope={}", name_of(image)))
            .put("cache-to", format!("type=gha,mode=max,scope={}", name_of(image)));
        steps.push(uses("docker/build-push-action@v6", with));
    }
    job.put("steps", steps);
    job
}

/// Returns the services whose image a deployment changes, with their objects: kind and name, and
/// the image.
fn rollouts<'a>(plan: &'a Plan<'_>) -> Vec<(String, &'a str, &'a Image)> {
    let one = |service: &'a crate::service::Service<'_>| {
        let image = plan.image_of(service)?;
        let kind = match service.kind {
            Lifecycle::Server => "deployment",
            Lifecycle::Job => "cronjob",
            Lifecycle::Once => return None,
        };
        Some((format!("{kind}/{}", service.name), service.name.as_str(), image))
    };
    plan.services.iter().filter_map(one).collect()
}

/// Returns the lines of a script that deploys. `version` is the expression for the commit in its
/// shell.
fn deploy_script(plan: &Plan<'_>, version: &str) -> String {
    let all = rollouts(plan);
    let (servers, others): (Vec<_>, Vec<_>) = all.iter().partition(|(object, _, _)| object.starts_with("deployment/"));
    let set = |(object, container, image): &(String, &str, &Image)| {
        format!("kubectl set image {object} \"{container}=$IMAGES/{}:{version}\"", name_of(image))
    };
    let mut lines = vec!["set -eu".to_owned()];
    if !servers.is_empty() {
        lines.push("# One after the other. If one is not ready in time, all changed ones are rolled back, and the pipeline fails.".into());
        lines.push("changed=''".into());
        lines.push("back() { for object in $changed; do kubectl rollout undo \"$object\" || true; done; exit 1; }".into());
    }
    for server in &servers {
        let object = &server.0;
        lines.push(format!("{} || back", set(server)));
        lines.push(format!("changed=\"{object} $changed\""));
        lines.push(format!("kubectl rollout status {object} --timeout=5m || back"));
    }
    lines.extend(others.iter().map(|other| set(other)));
    let once: Vec<&str> =
        plan.services.iter().filter(|service| service.kind == Lifecycle::Once).map(|service| service.name.as_str()).collect();
    if !once.is_empty() {
        lines.push(format!("# Recreate jobs that run once by hand, or here: {}.", once.join(", ")));
    }
    lines.join("\n")
}

fn rollback_script(plan: &Plan<'_>) -> String {
    let all = rollouts(plan);
    let mut lines = vec!["set -eu".to_owned()];
    for (object, _, _) in all.iter().filter(|(object, _, _)| object.starts_with("deployment/")) {
        lines.push(format!("kubectl rollout undo {object}"));
        lines.push(format!("kubectl rollout status {object} --timeout=5m"));
    }
    lines.join("\n")
}

fn kubeconfig_step() -> Yaml {
    let mut step = Map::new().with("name", "Access to the cluster");
    step.put("env", Map::new().with("KUBE_CONFIG", Yaml::Reference("${{ secrets.KUBE_CONFIG }}".into())));
    step.put("run", "umask 077 && mkdir -p ~/.kube && printf %s \"$KUBE_CONFIG\" > ~/.kube/config");
    step.into()
}

fn github_deploy(plan: &Plan<'_>) -> Map {
    let mut job = Map::new();
    job.put("needs", "image").put("runs-on", "ubuntu-latest").put("environment", "production");
    let mut step = Map::new().with("name", "Roll out");
    step.put("run", deploy_script(plan, "$GITHUB_SHA"));
    job.put("steps", vec![kubeconfig_step(), step.into()]);
    job
}

fn github_rollback(plan: &Plan<'_>) -> Map {
    let mut job = Map::new();
    job.comment("Run manually: Actions, deploy, Run workflow, with the box ticked.");
    job.put("if", "${{ inputs.rollback }}").put("runs-on", "ubuntu-latest").put("environment", "production");
    let mut step = Map::new().with("name", "Go back");
    step.put("run", rollback_script(plan));
    job.put("steps", vec![kubeconfig_step(), step.into()]);
    job
}

/// Returns `.gitlab-ci.yml`.
pub(crate) fn gitlab(plan: &mut Plan<'_>) -> CiOutput {
    let mut map = Map::new();
    map.put("stages", Yaml::words(["test", "image", "deploy"]));
    let main = || Yaml::from(vec![Yaml::from(Map::new().with("if", "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"))]);
    for image in &plan.images {
        let commands = commands(plan, image);
        if commands.is_empty() {
            continue;
        }
        let mut job = Map::new().with("stage", "test").with("image", ci_image(&image.base));
        let folder = (!image.folder.is_empty()).then(|| format!("cd {}", crate::quote::sh(&image.folder)));
        job.put("script", folder.into_iter().chain(commands).map(Yaml::from).collect::<Vec<_>>());
        map.put(format!("test-{}", crate::names::label(name_of(image))), job);
    }
    for image in &plan.images {
        let mut job = Map::new().with("stage", "image").with("image", "docker:27").with("services", Yaml::words(["docker:27-dind"]));
        job.put("rules", main());
        let full = format!("$CI_REGISTRY_IMAGE/{}", name_of(image));
        let mut script =
            vec!["echo \"$CI_REGISTRY_PASSWORD\" | docker login -u \"$CI_REGISTRY_USER\" --password-stdin \"$CI_REGISTRY\"".to_owned()];
        if plan.options.ostler_image.is_none() {
            script.push("wget -q -O ostler \"$OSTLER_URL\" && chmod +x ostler".into());
        }
        script.push(format!("docker build -f {} -t \"{full}:$CI_COMMIT_SHA\" -t \"{full}:latest\" .", crate::quote::sh(&image.dockerfile)));
        script.push(format!("docker push --all-tags \"{full}\""));
        job.put("script", script.into_iter().map(Yaml::from).collect::<Vec<_>>());
        map.put(format!("image-{}", crate::names::label(name_of(image))), job);
    }
    let kubectl = || {
        Map::new()
            .with("name", "registry.gitlab.com/gitlab-org/cluster-integration/helm-install-image:latest")
            .with("entrypoint", Yaml::words([""]))
    };
    let mut deploy = Map::new().with("stage", "deploy").with("image", kubectl());
    deploy.put("environment", Map::new().with("name", "production"));
    deploy.comment("One after the other.").put("resource_group", "production");
    deploy.put("rules", main());
    let script = deploy_script(plan, "$CI_COMMIT_SHA").replace("$IMAGES/", "$CI_REGISTRY_IMAGE/");
    deploy.put("script", vec![Yaml::from(script)]);
    map.put("deploy", deploy);
    let mut back = Map::new().with("stage", "deploy").with("image", kubectl());
    back.put("environment", Map::new().with("name", "production")).put("resource_group", "production");
    back.comment("Run manually if a release turns out to be bad.");
    let rule = Map::new().with("if", "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH").with("when", "manual").with("allow_failure", true);
    back.put("rules", vec![Yaml::from(rule)]);
    back.put("script", vec![Yaml::from(rollback_script(plan))]);
    map.put("rollback", back);
    let next = vec![message!("Settings, CI/CD, Variables: KUBECONFIG (type file), OSTLER_URL (address of the static ostler binary)")];
    (vec![(".gitlab-ci.yml".into(), map.text(Dialect::Plain))], next)
}

fn ci_image(base: &Base) -> String {
    match base {
        Base::Node(version, _) => format!("node:{version}"),
        Base::Bun => "oven/bun:1".into(),
        Base::Deno => "denoland/deno:latest".into(),
        Base::Python(_) => "python:3.13".into(),
        Base::Php => "composer:2".into(),
        Base::Ruby => "ruby:3.4".into(),
        Base::Go => "golang:1".into(),
        Base::Rust => "rust:1".into(),
        _ => "debian:bookworm-slim".into(),
    }
}
