//! Project for tests that turn options and attributes into specs.
#![allow(dead_code, reason = "each test program uses what it needs")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use ostler_config::{Context, Normalized, Overlay, Problems, from_options, load_stdin, normalize};
use ostler_core::app::{AppSpec, EnvMap};
use serde_json::{Value, json};

/// A private directory with its own `bin` on `PATH`; removed at the end.
pub(crate) struct Project {
    pub(crate) dir: PathBuf,
    pub(crate) context: Context,
}

impl Project {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ostler-normalize-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("bin")).unwrap();
        let dir = dir.canonicalize().unwrap();
        let env = [("PATH", format!("{}/bin", dir.display())), ("HOME", format!("{}/home", dir.display())), ("CALLER", "1".into())];
        let env: EnvMap = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let context = Context::new(dir.clone(), env, 4).unwrap();
        let project = Self { dir, context };
        for program in ["node", "bash", "python3", "perl"] {
            project.program(program, "#!/bin/sh\n");
        }
        project
    }

    pub(crate) fn file(&self, path: &str, text: &str) -> String {
        let file = self.dir.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        file.to_string_lossy().into_owned()
    }

    pub(crate) fn program(&self, name: &str, text: &str) -> String {
        let file = self.file(&format!("bin/{name}"), text);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    pub(crate) fn try_start(&self, script: &str, options: Value, args: &[&str]) -> Result<Normalized, Problems> {
        let Value::Object(options) = options else { panic!("options are a table") };
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        from_options(script, &options, &args, &self.context, &Overlay::default())
    }

    pub(crate) fn start(&self, script: &str, options: Value) -> AppSpec {
        self.try_start(script, options, &[]).unwrap_or_else(|problems| panic!("{script}: {problems}")).spec
    }

    pub(crate) fn error(&self, script: &str, options: Value) -> String {
        self.try_start(script, options, &[]).expect_err(script).to_string()
    }

    pub(crate) fn app(&self, app: Value, overlay: &Overlay) -> Normalized {
        let loaded = load_stdin(json!([app]).to_string().as_bytes(), &self.context).unwrap();
        normalize(&loaded.apps[0], &self.context, overlay).unwrap_or_else(|problems| panic!("{problems}"))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
