//! Keys of a Procfile.

use super::{Format, Key, differs, done};

pub(super) const FORMAT: Format = Format { title: "Procfile", source: "foreman 0.88, with its SIGTERM and 5 s for a stop", keys: KEYS };

pub(in crate::import) const KEYS: &[Key] = &[
    differs("name", "the name of the app; foreman stops every process if one exits; here each process is restarted on its own"),
    done("command", "script; a shell reads it"),
    differs("release", "a process with this name runs once"),
    done("PORT", "env.PORT: 5000, 5100 and so on; `PORT` in `.env` or `--port` sets the first port"),
    done(".env", "env_file, with the syntax of foreman; it may be missing"),
];
