//! Errors of modules.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Reason why a module cannot be installed, started, packed or published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    /// Another command holds the lock of this folder.
    #[error("another command is changing the modules in \"{}\"; try again", .0.display())]
    Locked(PathBuf),
    /// File or folder that cannot be read or made.
    #[error("cannot {what} \"{}\": {source}", .path.display())]
    File {
        /// `read`, `make` or `pack`.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// `package.json` that is no JSON.
    #[error("\"{}\" is not JSON: {source}", .path.display())]
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
    #[error("it has no name")]
    NoName,
    /// Name that no module can have.
    #[error("{0:?} is not a valid module name")]
    Name(String),
    /// Package without a version.
    #[error("it has no version")]
    NoVersion,
    /// Version with other characters than a file name can have.
    #[error("{0:?} is not a valid version")]
    Version(String),
    /// Key whose value is no app and no list of apps.
    #[error("`{0}` is neither an app nor a list of apps")]
    NoApps(&'static str),
    /// Package with no app or too many.
    #[error("a module has 1 to {most} apps, this one has {count}")]
    AppCount {
        /// Largest number of apps.
        most: usize,
        /// Number of apps in the package.
        count: usize,
    },
    /// Installed package that has the name of another module.
    #[error("its package is named {0}")]
    OtherName(String),
    /// App of a module that makes no sense.
    #[error("module {module}: {reason}")]
    App {
        /// The module.
        module: String,
        /// The fault in its description.
        reason: String,
    },
    /// Module that has the name of an app.
    #[error("an app named {0} already exists; nothing was changed")]
    IsApp(String),
    /// Module that the user names, but that is not installed.
    #[error("Unknown module: {0} is not installed")]
    Unknown(String),
    /// Word that means a part of PM2.
    #[error("{word} is a part of PM2 itself, nothing to install: {instead}")]
    PartOfPm2 {
        /// As typed.
        word: String,
        /// Name of the part of ostler with the same purpose.
        instead: &'static str,
    },
    /// Word that is no source of a module.
    #[error("cannot install {word:?}: {reason}")]
    Source {
        /// The beginning of the word.
        word: String,
        /// The fault.
        reason: &'static str,
    },
    /// Update of a module that came from a tar file.
    #[error("{0} was installed from a tar file: `install` the new one")]
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
    #[error("the current folder cannot be downloaded")]
    Here,
    /// File or folder that does not exist.
    #[error("\"{}\" does not exist", .0.display())]
    Missing(PathBuf),
    /// The fresh folder cannot be written to.
    #[error("cannot write there: {0}")]
    Write(#[source] io::Error),
    /// Program that cannot be run.
    #[error("cannot run {program}: {source}")]
    Run {
        /// Its name.
        program: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Program that failed. It has printed the reason.
    #[error("{program} failed ({status})")]
    Failed {
        /// Its name.
        program: &'static str,
        /// Its end.
        status: ExitStatus,
    },
    /// Machine without a program that fetches packages.
    #[error("cannot download modules: neither npm nor bun was found; install Node's npm")]
    NoNpm,
    /// npm succeeded, but this package is missing.
    #[error("npm installed no package in \"{}\"", .0.display())]
    NoPackage(PathBuf),
    /// npm installed another number of packages than one.
    #[error("npm installed {0} packages instead of one")]
    PackageCount(usize),
    /// Tar file that cannot be unpacked.
    #[error("cannot unpack: {0}")]
    Unpack(#[from] io::Error),
    /// Tar file with another number of folders than one.
    #[error("this is not a module: expected one folder in it, found {0}")]
    FolderCount(usize),
    /// Downloaded file that cannot be opened.
    #[error("cannot read the download of {program}: {source}")]
    Downloaded {
        /// The program that downloaded it.
        program: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Download that failed.
    #[error("{program} cannot download it ({status})")]
    Download {
        /// The program that tried it.
        program: &'static str,
        /// Its end.
        status: ExitStatus,
    },
    /// Machine without a program that downloads.
    #[error("cannot download modules: neither curl nor wget was found")]
    NoDownloader,
    /// Process of a new module that was restarted too often.
    #[error("{name} was restarted {count} times and is {status}")]
    Restarted {
        /// Name of the process.
        name: String,
        /// Restarts since the installation.
        count: u32,
        /// Its status.
        status: String,
    },
    /// Process of a new module that exited.
    #[error("{0} has crashed")]
    Crashed(String),
    /// New module that was deleted after its start.
    #[error("it is no longer in the list")]
    Gone,
    /// Module that failed after its start. The former state is restored, and the reason was printed.
    #[error("{0} was not installed; nothing was changed")]
    Undone(String),
}
