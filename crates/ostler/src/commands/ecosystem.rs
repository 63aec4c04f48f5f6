//! `ecosystem`: a config file as a starting point.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use crate::cli::Call;
use crate::cx::{self, Cx};
use crate::error::{CliError, CommandError, Status, UsageError};
use ostler_core::{marked, message};
use ostler_sys::fs::replace::{Durability, Writers, replace};

const SIMPLE: &str = r#"module.exports = {
  apps: [{
    name: "app1",
    script: "./app.js",
  }],
}
"#;

const FULL: &str = r#"module.exports = {
  apps: [
    {
      name: "api",
      script: "./app.js",          // a script, a program on PATH, or a command line
      // args: "--port 3000",
      // cwd: "./api",

      // How many copies: a number, or "max" for one per CPU.
      instances: 1,

      // Environment; `start ecosystem.config.js --env production` adds env_production.
      env: {
        NODE_ENV: "development",
        PORT: 3000,
      },
      env_production: {
        NODE_ENV: "production",
      },
      // env_file: ".env",

      // Restart policy.
      autorestart: true,
      max_restarts: 16,            // unstable restarts in a row before giving up
      min_uptime: "1s",            // a shorter run is unstable
      // exp_backoff_restart_delay: 100,
      // stop_exit_codes: [0],

      // The start is complete when the app calls process.send("ready").
      // wait_ready: true,
      // listen_timeout: 3000,

      // Stop: the signal, and the time until SIGKILL.
      // kill_signal: "SIGINT",
      kill_timeout: 1600,

      // Logs.
      // out_file: "./logs/api-out.log",
      // error_file: "./logs/api-error.log",
      // log_date_format: "YYYY-MM-DD HH:mm:ss",
    },
    {
      name: "worker",
      script: "python3 worker.py",
    },
  ],
}
"#;

/// Writes `ecosystem.config.js` here. PM2 differs: it overwrites an existing file; here this needs
/// `--force`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let text = match call.target() {
        None | Some("full") => FULL,
        Some("simple") => SIMPLE,
        // As PM2: any other word is the full one.
        Some(_) if cx.program.is_pm2() => FULL,
        Some(word) => return Err(UsageError::unknown_value("ecosystem", word, &["full", "simple"]).into()),
    };
    let path = std::path::Path::new(&cx::cwd()?).join("ecosystem.config.js");
    let written = if call.has("force") {
        replace(&path, text.as_bytes(), Durability::Power, Writers::Many).map_err(|error| error.source)
    } else {
        OpenOptions::new().write(true).create_new(true).open(&path).and_then(|mut file| file.write_all(text.as_bytes()))
    };
    written.map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => CommandError::Exists { path: path.clone(), instead: marked!("add -f to overwrite it") }.into(),
        _ => CliError::File { what: marked!("write"), path: path.display().to_string(), source },
    })?;
    cx.out.line(message!("File {file} generated", file = path.display()));
    Ok(Status::Ok)
}
