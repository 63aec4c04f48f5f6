//! Checks of the readers of files of other tools for any bytes. The crate `ostler-fuzzing` runs
//! them; see `docs/fuzzing.md`.

use serde_json::{Map, Value};

use super::{ComposeContext, FileContext, ImportError, ImportFormat, Imported, compose_project, dockerfile, dotenv, import};

/// Reads a file that may name others: each of them has this text, too.
fn read(from: ImportFormat, bytes: &[u8]) -> Option<Imported> {
    let text = String::from_utf8_lossy(bytes);
    let files = |pattern: &str| vec![(pattern.to_owned(), text.to_string())];
    let place = FileContext { name: "api.service", folder: Some("/srv"), host: Some("box"), port: Some(5000), files: &files };
    let read = import(from, &text, &place);
    match read {
        Ok(imported) => {
            is_sound(&imported, text.len());
            Some(imported)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.to_string().len() <= 10 * text.len() + 1000, "{error}");
            None
        }
    }
}

fn is_sound(imported: &Imported, length: usize) {
    for app in &imported.apps {
        assert!(app.get("name").is_some_and(Value::is_string), "{app:?}");
    }
    let size: usize = imported.apps.iter().map(|app| Value::Object(app.clone()).to_string().len()).sum();
    assert!(size <= 2000 * length + 100_000, "{size} bytes of {length}");
    for notice in &imported.notices {
        assert!(!notice.why.is_empty(), "{notice:?}");
    }
}

/// Checks a compose file that includes itself and whose services have a Dockerfile.
pub fn import_compose(bytes: &[u8]) -> Option<Imported> {
    let text = String::from_utf8_lossy(bytes);
    let imported = read(ImportFormat::Compose, bytes);
    let files = |path: &str| Ok(Some(if path.contains("Dockerfile") { DOCKERFILE.to_owned() } else { text.to_string() }));
    let variable = |name: &str| (name.len() == 1).then(|| "value".to_owned());
    let around = ComposeContext { variable: &variable, has_program: &|_| true, runs_as: &|_| true, read: &files, keeps_references: false };
    match compose_project(&[("compose.yaml".to_owned(), text.to_string())], &around) {
        Ok(project) => assert!(project.services.iter().all(|service| service.app.as_ref().is_ok_and(has_name) || service.app.is_err())),
        Err(ImportError::TooLarge(_)) => assert!(text.len() > 1 << 20),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    imported
}

const DOCKERFILE: &str = "FROM node:22\nWORKDIR /app\nCOPY . .\nENV A=1\nEXPOSE 3000\nCMD [\"node\", \"server.js\"]\n";

fn has_name(app: &Map<String, Value>) -> bool {
    app.get("name").is_some_and(Value::is_string)
}

/// Checks a unit of systemd.
pub fn import_systemd(bytes: &[u8]) -> Option<Imported> {
    read(ImportFormat::Systemd, bytes)
}

/// Checks a Procfile.
pub fn import_procfile(bytes: &[u8]) -> Option<Imported> {
    read(ImportFormat::Procfile, bytes)
}

/// Checks a file of supervisor, which may include files.
pub fn import_supervisor(bytes: &[u8]) -> Option<Imported> {
    read(ImportFormat::Supervisor, bytes)
}

/// Checks a file of `OxMgr`.
pub fn import_oxmgr(bytes: &[u8]) -> Option<Imported> {
    read(ImportFormat::Oxmgr, bytes)
}

/// Checks an env file as Compose reads it: references are resolved within bounds.
pub fn import_dotenv(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let variable = |name: &str| (name == "A").then(|| "a".repeat(10));
    match dotenv::parse(&text, &variable) {
        Ok(vars) => {
            for (at, (name, _)) in vars.iter().enumerate() {
                assert!(!name.is_empty() && !name.contains(char::is_whitespace), "{name:?}");
                assert!(!vars[at + 1..].iter().any(|(other, _)| other == name), "{name} twice");
            }
            let size: usize = vars.iter().map(|(_, value)| value.len()).sum();
            assert!(size <= 1 << 24, "{size} bytes");
        }
        Err(error) => assert!((1..=text.lines().count()).contains(&error.line), "{error}"),
    }
}

/// Checks a Dockerfile: each of its stages is a program.
pub fn import_dockerfile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for target in [None, Some("build"), Some("0")] {
        match dockerfile::read(&text, target, &[("VERSION".to_owned(), "1".to_owned())]) {
            Ok(stage) => {
                assert!(!stage.image.is_empty() && stage.port != Some(0), "{stage:?}");
                assert!(stage.env.iter().all(|(name, _)| !name.is_empty()), "{stage:?}");
                let _ = stage.local_path("/app/server.js");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
