//! Names by which the client, the daemon and other processes of this binary know the dashboard.

use std::path::{Path, PathBuf};

/// The word after the program's name that makes it this server; after it comes the home.
pub const ROLE: &str = "web-server";

/// The word that makes it the process that searches logs; after it comes the home, and on its input the question.
pub const SEARCH_ROLE: &str = "log-search";

/// Name of the app under which it is supervised.
pub const APP: &str = "ostler-web";

/// Variable of a reader of logs that reads for others: a link that an app's user has made leads no further than that user gets.
pub const FOR_OTHERS: &str = "OSTLER_READS_FOR_OTHERS";

/// The folder of everything that it keeps.
pub fn folder(home: &Path) -> PathBuf {
    home.join("web")
}
