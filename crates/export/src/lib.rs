//! Converts an ecosystem file to files of other engines, and back. Pure: its input is apps and
//! facts about their folders, its output is texts.
//!
//! - [`export()`] makes the files of a [`Target`] and reports values without an equivalent
//!   ([`Notice`]): it never drops a value silently.
//! - [`decide`] decides about an existing file that a user may have edited.
//! - [`import()`] makes an ecosystem file from a compose file, a unit of systemd, a Procfile, a
//!   supervisor's or an OxMgr's file.
//!
//! An image contains an additional file, `ostler.container.yaml`: the apps without their variables.
//! The variables come from the engine, so each value has one source. Secrets are in no file; the
//! files only contain references to them.
#![forbid(unsafe_code)]

mod base;
mod ci;
mod compose;
mod container;
mod coverage;
mod cron;
mod dockerfile;
mod env_files;
mod hcl;
mod image;
mod import;
mod kubernetes;
mod names;
mod nomad;
mod project;
mod quote;
mod sandbox;
mod service;
mod stamp;
mod systemd;
#[cfg(test)]
mod tests;
mod yaml;

pub use coverage::{ROWS, Row, Support, reference, support};
pub use env_files::EnvFile;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub use import::fuzz;
pub use import::{
    BuildError, CannotRun, ComposeContext, ComposeProject, ComposeService, DockerfileError, EnvFileError, FileContext, ImportError,
    ImportFormat, Imported, NoCommand, UnreadableFile, compose_project, compose_variables, import, import_compose, import_reference,
};
pub use project::{Folder, Package, Project};
pub use stamp::{FileAction, decide, stamped};

use ostler_core::text::language::translated;
use ostler_core::{marked, message};

use service::Service;

/// Kind of output files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Images: `Dockerfile`, `.dockerignore`, `ostler.container.yaml`.
    Dockerfile,
    /// `compose.yaml`, or `stack.yaml` for a swarm, with the files of images.
    Compose,
    /// Manifests, with overlays for kustomize, or a chart for Helm.
    Kubernetes,
    /// Units.
    Systemd,
    /// Jobs.
    Nomad,
    /// A workflow.
    GithubActions,
    /// A pipeline.
    GitlabCi,
}

impl Target {
    /// All of them, by their command-line words.
    pub const ALL: [(&'static str, Self); 7] = [
        ("dockerfile", Self::Dockerfile),
        ("compose", Self::Compose),
        ("kubernetes", Self::Kubernetes),
        ("systemd", Self::Systemd),
        ("nomad", Self::Nomad),
        ("github-actions", Self::GithubActions),
        ("gitlab-ci", Self::GitlabCi),
    ];

    /// Returns the target of this word.
    pub fn named(word: &str) -> Option<Self> {
        let word = if word == "k8s" { "kubernetes" } else { word };
        Self::ALL.into_iter().find(|(own, _)| *own == word).map(|(_, target)| target)
    }

    /// Returns its word.
    pub fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, target)| *target == self).map_or("", |(word, _)| word)
    }
}

/// Form of the manifests of Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManifestForm {
    /// Files for `kubectl apply -f`.
    #[default]
    Plain,
    /// A base, and an overlay for each `env_*`.
    Kustomize,
    /// A chart, and values for each `env_*`.
    Helm,
}

/// Choices of the user.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Image, without a tag; the default is the name of the project. If there are several images,
    /// each has its own suffix.
    pub image: Option<String>,
    /// Tag; `latest` unless given.
    pub tag: Option<String>,
    /// Image that contains ostler as `/ostler`; without it, a file `ostler` in the context is
    /// copied.
    pub ostler_image: Option<String>,
    /// Form of the manifests.
    pub form: ManifestForm,
    /// Whether the Compose file is for a swarm.
    pub swarm: bool,
    /// Host name for outside access, which adds an Ingress.
    pub host: Option<String>,
    /// Whether to write a NetworkPolicy.
    pub network_policy: bool,
    /// Path from the output folder to the project's folder; empty or `.` = the same.
    pub context: String,
}

impl Options {
    fn context(&self) -> &str {
        if self.context.is_empty() { "." } else { &self.context }
    }

    fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path relative to the output folder; never absolute, never with `..`.
    pub path: String,
    /// Text, with its first line ([`stamped`]).
    pub text: String,
}

/// Report of a value without an equivalent, or of a fact that the user must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Name of the app.
    pub app: String,
    /// Attribute.
    pub key: String,
    /// Reason, in one line.
    pub why: String,
    /// Kind of the fact.
    pub kind: NoticeKind,
}

/// Kind of a [`Notice`], for callers that show some of them only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoticeKind {
    /// A variable of the file that is not set.
    UnsetVariable,
    /// A key that the format does not have.
    UnknownKey,
    /// Any other fact.
    #[default]
    Other,
}

impl Notice {
    /// Returns a report of the usual kind.
    pub fn new(app: impl Into<String>, key: impl Into<String>, why: impl Into<String>) -> Self {
        Self { app: app.into(), key: key.into(), why: why.into(), kind: NoticeKind::Other }
    }
}

/// Result of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files, in reading order.
    pub files: Vec<File>,
    /// Reports about values that were not converted.
    pub notices: Vec<Notice>,
    /// Next command lines for the user.
    pub next: Vec<String>,
}

/// Reason why an export fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The project has no app.
    #[error("{}", message!("there is no app to export"))]
    NoApps,
    /// An option with an invalid name of an image or host.
    #[error("{}", message!("{option} {value} is not valid: {expected}", option = what, value = format!("{value:?}"), expected = translated(expected)))]
    Value {
        /// The option.
        what: &'static str,
        /// As given.
        value: String,
        /// Description of a valid value.
        expected: &'static str,
    },
}

/// Returns the texts of the tables that `export`, `import` and `up` show, for the catalogue of
/// translations.
pub fn texts() -> Vec<&'static str> {
    coverage::texts().chain(import::key_texts()).collect()
}

/// Input of a target.
struct Plan<'a> {
    project: &'a Project,
    options: &'a Options,
    services: Vec<Service<'a>>,
    images: Vec<image::Image>,
    notices: Vec<Notice>,
}

impl Plan<'_> {
    fn report(&mut self, app: &str, key: &str, why: impl Into<String>) {
        self.notices.push(Notice::new(app, key, why));
    }

    /// Returns the image of a service, if it is built here.
    fn image_of(&self, service: &Service<'_>) -> Option<&image::Image> {
        self.images.iter().find(|image| image.services.contains(&service.name))
    }

    /// Returns the name of a service's image with its tag.
    fn image_name(&self, service: &Service<'_>) -> String {
        match (&service.base, self.image_of(service)) {
            (base::Base::Official(official), _) => official.image.to_owned(),
            (_, Some(image)) => format!("{}:{}", image.name, self.options.tag()),
            (_, None) => String::new(),
        }
    }
}

/// Makes the files of a target.
///
/// # Errors
/// Returns an error if no file was made; the reason is one line.
pub fn export(project: &Project, target: Target, options: &Options) -> Result<Exported, ExportError> {
    check(options)?;
    if project.apps.is_empty() {
        return Err(ExportError::NoApps);
    }
    let mut notices = Vec::new();
    let services = service::services(project, &mut notices);
    if matches!(target, Target::Systemd) {
        // Units run on the machine of the file, so these values need no conversion.
        notices.retain(|notices| !matches!(notices.key.as_str(), "cwd" | "env" | "listen"));
    }
    if matches!(target, Target::GithubActions | Target::GitlabCi) {
        notices.clear();
    }
    for service in &services {
        for (key, why) in coverage::unsupported(service.spec, target) {
            notices.push(Notice::new(service.spec.name.as_str(), key, why));
        }
    }
    for service in &services {
        for (path, file) in service.env_files.iter().filter_map(|path| Some((path, project.env_files.get(path)?))) {
            for why in env_files::differences(path, file, target, options) {
                notices.push(Notice::new(service.spec.name.as_str(), "env_file", why));
            }
        }
    }
    let images = image::images(project, options, &services);
    let mut plan = Plan { project, options, services, images, notices };
    let (files, next) = match target {
        Target::Dockerfile => dockerfile::files(&mut plan),
        Target::Compose => compose::files(&mut plan),
        Target::Kubernetes => kubernetes::files(&mut plan),
        Target::Systemd => systemd::files(&mut plan),
        Target::Nomad => nomad::files(&mut plan),
        Target::GithubActions => ci::github(&mut plan),
        Target::GitlabCi => ci::gitlab(&mut plan),
    };
    let what = target.word();
    // The files of images are the same for all targets.
    let of_image = |path: &str| path.starts_with("Dockerfile") || path == ".dockerignore" || path == container::FILE;
    let what = |path: &str| if of_image(path) { Target::Dockerfile.word() } else { what };
    let files = files.into_iter().map(|(path, body)| File { text: stamped(what(&path), &body), path }).collect();
    let mut notices = plan.notices;
    notices.dedup();
    Ok(Exported { files, notices, next })
}

/// Rejects characters that would end a line or a quote.
fn check(options: &Options) -> Result<(), ExportError> {
    let is_image = |text: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        !text.is_empty() && text.len() <= 255 && text.chars().all(good) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    let is_tag = |text: &str| is_image(text) && text.len() <= 128 && !text.contains(['/', ':', '@']);
    let is_host = |text: &str| {
        let good = |part: &str| !part.is_empty() && part.len() <= 63 && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        text.len() <= 253 && text.split('.').all(good)
    };
    let refuse =
        |what, value: &Option<String>, expected| Err(ExportError::Value { what, value: value.clone().unwrap_or_default(), expected });
    let (name, host) = (marked!("a name such as registry.example.com/shop"), marked!("a name such as shop.example.com"));
    if options.image.as_ref().is_some_and(|image| !is_image(image) || image.contains('@')) {
        return refuse("--image", &options.image, name);
    }
    if options.ostler_image.as_ref().is_some_and(|image| !is_image(image)) {
        return refuse("--ostler-image", &options.ostler_image, name);
    }
    if options.tag.as_ref().is_some_and(|tag| !is_tag(tag)) {
        return refuse("--tag", &options.tag, marked!("a tag such as 1.4.2"));
    }
    if options.host.as_ref().is_some_and(|text| !is_host(text)) {
        return refuse("--host", &options.host, host);
    }
    Ok(())
}
