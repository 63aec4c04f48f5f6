//! Replacements of PM2's commands that ostler does not have, as texts for users.

/// The vendor's monitoring service.
pub(super) const SERVICE: &str =
    "ostler has no monitoring service; its own dashboard shows apps, logs, metrics and alerts: `ostler web enable`, then `ostler web open`";

/// Profiles of PM2's daemon, by V8.
pub(super) const PROFILE: &str =
    "ostler's daemon is not a Node program: profile it with `perf record -p`; `ostler profile <app>` profiles an app";

/// PM2's sample projects.
pub(super) const SAMPLES: &str =
    "ostler has no sample projects; `ostler ecosystem` writes a sample config file, `ostler examples` shows commands";

/// Installation and updates of ostler itself.
pub(super) const INSTALLED: &str =
    "ostler does not install itself; `ostler update --from <file>` installs a new ostler without restarting apps";
