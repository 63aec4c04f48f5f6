//! The apps that tests run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Returns the path of a file below `tests/fixtures`.
#[track_caller]
pub fn fixture_path(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    path.canonicalize().unwrap_or_else(|error| panic!("no fixture {name}: {error}")).to_string_lossy().into_owned()
}

/// Returns the path of a script in `tests/fixtures/apps`.
#[track_caller]
pub fn fixture_app(name: &str) -> String {
    fixture_path(&format!("apps/{name}"))
}

/// Returns the path of the multi-tool binary `fixture` (see `src/bin/fixture`).
///
/// Cargo does not build binaries of *other* packages for a test. So this function builds it if it
/// is missing or older than its source.
#[track_caller]
pub fn fixture() -> String {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(build).to_string_lossy().into_owned()
}

fn build() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile_dir = test.parent().and_then(Path::parent).expect("tests lie in <target>/<profile>/deps");
    let target_dir = profile_dir.parent().expect("a profile folder lies in the target folder");
    let binary = profile_dir.join("ostler-fixture");
    if is_fresh(&binary) {
        return binary;
    }
    // Many test processes get here at the same time; one of them builds.
    let lock = File::create(profile_dir.join(".ostler-fixture.lock")).unwrap();
    lock.lock().unwrap();
    if !is_fresh(&binary) {
        let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", "ostler-testkit", "--bin", "ostler-fixture", "--profile", profile, "--target-dir"]);
        let status = command.arg(target_dir).current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(status.success(), "cannot build the fixture binary");
        // Cargo does not touch an up-to-date file, however old.
        drop(File::options().append(true).open(&binary).and_then(|file| file.set_modified(SystemTime::now())));
    }
    binary
}

fn is_fresh(binary: &Path) -> bool {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/fixture");
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let newest = fs::read_dir(sources).unwrap().filter_map(|entry| changed(&entry.ok()?.path())).max();
    changed(binary).zip(newest).is_some_and(|(built, source)| built >= source)
}
