//! Names by which the client, the daemon and other processes of this binary know the dashboard.

use std::path::{Path, PathBuf};

/// Argument that selects the dashboard's role; the home follows it.
pub const ROLE: &str = "web-server";

/// Argument that selects the log search role; the home follows it. The query is read from standard
/// input.
pub const SEARCH_ROLE: &str = "log-search";

/// Name of the dashboard's app.
pub const APP: &str = "ostler-web";

/// Environment variable of a log reader that reads for other users. Links that an app's user
/// created are followed only as far as that user may read.
pub const FOR_OTHERS: &str = "OSTLER_READS_FOR_OTHERS";

/// Returns the folder of the dashboard's files.
pub fn folder(home: &Path) -> PathBuf {
    home.join("web")
}
