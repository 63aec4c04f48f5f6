//! Errors of modules.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use ostler_core::message;
use ostler_core::text::language::translated;
use ostler_core::text::suggest::{near, question};

use crate::near_file::near_file;

/// Reason why a module cannot be installed, started, packed or published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    /// Another command holds the lock of this folder.
    #[error("{}", message!("another command is changing the modules in \"{folder}\"; try again", folder = _0.display()))]
    Locked(PathBuf),
    /// File or folder that cannot be read or made.
    #[error("{}", message!("cannot {what} \"{path}\": {source}", what = translated(what), path = path.display(), source))]
    File {
        /// `read`, `make` or `pack`.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// `package.json` that is no JSON.
    #[error("{}", message!("\"{path}\" is not JSON: {source}", path = path.display(), source))]
    Json {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// `package.json` that describes no module.
    #[error("\"{}\": {source}", .path.display())]
    Package {
        /// Its path.
        path: PathBuf,
        /// The fault.
        source: Box<Self>,
    },
    /// Package without a name.
    #[error("{}", message!("it has no name"))]
    NoName,
    /// Name that no module can have.
    #[error("{}", message!("{name} is not a valid module name", name = format!("{_0:?}")))]
    Name(String),
    /// Package without a version.
    #[error("{}", message!("it has no version"))]
    NoVersion,
    /// Version with other characters than a file name can have.
    #[error("{}", message!("{version} is not a valid version", version = format!("{_0:?}")))]
    Version(String),
    /// Key whose value is no app and no list of apps.
    #[error("{}", message!("`{key}` is neither an app nor a list of apps", key = _0))]
    NoApps(&'static str),
    /// Package with no app or too many.
    #[error("{}", message!("a module has 1 to {most} apps, this one has {count}", most, count))]
    AppCount {
        /// Largest number of apps.
        most: usize,
        /// Number of apps in the package.
        count: usize,
    },
    /// Installed package that has the name of another module.
    #[error("{}", message!("its package is named {name}", name = _0))]
    OtherName(String),
    /// App of a module that makes no sense.
    #[error("{}", message!("module {module}: {reason}", module, reason))]
    App {
        /// The module.
        module: String,
        /// The fault in its description.
        reason: String,
    },
    /// Module that has the name of an app.
    #[error("{}", message!("an app named {name} already exists; nothing was changed", name = _0))]
    IsApp(String),
    /// Module that the user names, but that is not installed.
    #[error("{}", message!("Unknown module: {word} is not installed", word))]
    Unknown {
        /// As typed.
        word: String,
        /// A similar name.
        closest: Option<String>,
    },
    /// Word that means a part of PM2.
    #[error("{}", message!("{word} is a part of PM2 itself, nothing to install: {instead}", word, instead = translated(instead)))]
    PartOfPm2 {
        /// As typed.
        word: String,
        /// Name of the part of ostler with the same purpose.
        instead: &'static str,
    },
    /// Word that is no source of a module.
    #[error("{}", message!("cannot install {word}: {reason}", word = format!("{word:?}"), reason = translated(reason)))]
    Source {
        /// The beginning of the word.
        word: String,
        /// The fault.
        reason: &'static str,
    },
    /// Update of a module that came from a tar file.
    #[error("{}", message!("{name} was installed from a tar file: `install` the new one", name = _0))]
    FromTar(String),
    /// Source that cannot be fetched, or holds no module.
    #[error("{shown}: {source}")]
    Fetch {
        /// Source, as the user names it.
        shown: String,
        /// The cause.
        source: Box<Self>,
    },
    /// The folder of the caller, which is used in place.
    #[error("{}", message!("the current folder cannot be downloaded"))]
    Here,
    /// File or folder that does not exist.
    #[error("{}", message!("\"{path}\" does not exist", path = _0.display()))]
    Missing(PathBuf),
    /// The fresh folder cannot be written to.
    #[error("{}", message!("cannot write there: {error}", error = _0))]
    Write(#[source] io::Error),
    /// Program that cannot be run.
    #[error("{}", message!("cannot run {program}: {source}", program, source))]
    Run {
        /// Its name.
        program: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Program that failed. It has printed the reason.
    #[error("{}", message!("{program} failed ({status})", program, status))]
    Failed {
        /// Its name.
        program: &'static str,
        /// Its end.
        status: ExitStatus,
    },
    /// Machine without a program that fetches packages.
    #[error("{}", message!("cannot download modules: neither npm nor bun was found; install Node's npm"))]
    NoNpm,
    /// npm succeeded, but this package is missing.
    #[error("{}", message!("npm installed no package in \"{folder}\"", folder = _0.display()))]
    NoPackage(PathBuf),
    /// npm installed another number of packages than one.
    #[error("{}", message!("npm installed {count} packages instead of one", count = _0))]
    PackageCount(usize),
    /// Tar file that cannot be unpacked.
    #[error("{}", message!("cannot unpack: {error}", error = _0))]
    Unpack(#[from] io::Error),
    /// Tar file with another number of folders than one.
    #[error("{}", message!("this is not a module: expected one folder in it, found {count}", count = _0))]
    FolderCount(usize),
    /// Downloaded file that cannot be opened.
    #[error("{}", message!("cannot read the download of {program}: {source}", program, source))]
    Downloaded {
        /// The program that downloaded it.
        program: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Download that failed.
    #[error("{}", message!("{program} cannot download it ({status})", program, status))]
    Download {
        /// The program that tried it.
        program: &'static str,
        /// Its end.
        status: ExitStatus,
    },
    /// Machine without a program that downloads.
    #[error("{}", message!("cannot download modules: neither curl nor wget was found"))]
    NoDownloader,
    /// Process of a new module that was restarted too often.
    #[error("{}", message!("{name} was restarted {count} times and is {status}", name, count, status))]
    Restarted {
        /// Name of the process.
        name: String,
        /// Restarts since the installation.
        count: u32,
        /// Its status.
        status: String,
    },
    /// Process of a new module that exited.
    #[error("{}", message!("{name} has crashed", name = _0))]
    Crashed(String),
    /// New module that was deleted after its start.
    #[error("{}", message!("it is no longer in the list"))]
    Gone,
    /// Module that failed after its start. The former state is restored, and the reason was printed.
    #[error("{}", message!("{name} was not installed; nothing was changed", name = _0))]
    Undone(String),
}

impl ModuleError {
    /// Returns the error about a module that is not among these.
    pub(crate) fn unknown<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Unknown { word: word.to_owned(), closest: near(word, known).map(str::to_owned) }
    }

    /// Returns the next step, or none.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { closest, .. } => closest.as_deref().map(question),
            Self::Missing(path) => near_file(path),
            _ => None,
        }
    }
}
