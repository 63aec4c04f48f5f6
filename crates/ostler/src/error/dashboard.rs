//! Errors of the dashboard and of its files.

use std::io;
use std::path::PathBuf;

use ostler_core::message;
use ostler_core::text::suggest::did_you_mean;
use ostler_web::access::{PasswordError, TokenError};
use ostler_web::alerts::settings::AlertsError;
use ostler_web::json_file::FileError;
use ostler_web::settings::SettingsError;

/// Reason why the dashboard cannot be changed or shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DashboardError {
    /// The file of its settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another of its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// Token that cannot be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Password that cannot be set.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The file of the alerts' settings.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// Two passwords that differ.
    #[error("{}", message!("the two passwords differ; nothing was changed"))]
    Passwords,
    /// New settings that cannot be used. The former ones stay.
    #[error("{}", message!("{reason}; {state}", reason, state))]
    Kept {
        /// The fault.
        reason: String,
        /// State of the dashboard.
        state: String,
    },
    /// App of the dashboard that cannot be described.
    #[error("{}", message!("cannot create the app of the dashboard: {error}", error = _0))]
    App(String),
    /// Dashboard that is switched off.
    #[error("{}", message!("the dashboard is off; `{program} web enable` switches it on", program))]
    Off {
        /// Name of this program.
        program: &'static str,
    },
    /// Dashboard that is switched on and does not run.
    #[error("{}", message!("the dashboard is not running; `{program} web enable` starts it again, `{program} logs ostler-web` shows its log", program))]
    Down {
        /// Name of this program.
        program: &'static str,
    },
    /// Dashboard without an address.
    #[error("{}", message!("the dashboard listens on the socket {socket}, which browsers cannot open; use a proxy", socket = _0))]
    Socket(String),
    /// Dashboard that has not collected errors.
    #[error("{}", message!("no errors have been collected yet; `{program} web enable` turns collection on", program))]
    NothingCollected {
        /// Name of this program.
        program: &'static str,
    },
    /// Dashboard that is switched on and has recorded nothing.
    #[error("{}", message!("no history yet: the dashboard has not recorded anything"))]
    NoHistory,
    /// Dashboard that is switched off and has recorded nothing.
    #[error("{}", message!("no history is recorded; `{program} web enable` turns it on with the dashboard", program))]
    HistoryOff {
        /// Name of this program.
        program: &'static str,
    },
    /// History that cannot be read.
    #[error("{}", message!("cannot read the history in \"{folder}\": {source}", folder = folder.display(), source))]
    History {
        /// Its folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// App without figures.
    #[error("{}", message!("no metrics of {app} yet{list}", app, list = listed(known)))]
    NoFigures {
        /// As typed.
        app: String,
        /// Some apps with figures.
        known: Vec<String>,
    },
    /// Neither the daemon nor the history can be shown; the reason why the daemon is not.
    #[error("{}", message!("nothing to show: {reason}", reason = _0))]
    Nothing(String),
}

impl DashboardError {
    /// Returns the next step, or none.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::NoFigures { app, known } => did_you_mean(app, known.iter().map(String::as_str)),
            _ => None,
        }
    }
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { message!("; apps with metrics: {names}", names = known.join(", ")) }
}
