//! The hosts file of a home: `hosts.yaml`, `hosts.yml`, `hosts.json` or `hosts.toml`.

use std::path::Path;

use ostler_fleet::{Hosts, Member};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, FleetError, UsageError};

/// Names of the file.
const NAMES: [&str; 4] = ["hosts.yaml", "hosts.yml", "hosts.json", "hosts.toml"];

/// Returns the hosts that a call selects.
///
/// # Errors
/// Returns an error if the file is invalid, or if a word selects no host.
pub(super) fn members(cx: &mut Cx, call: &Call) -> Result<Vec<Member>, CliError> {
    let home = crate::home::locate(cx.program)?;
    let hosts = read(cx, &home)?;
    let words: Vec<&str> = call.values("hosts").collect();
    let missing = || if hosts == Hosts::default() { format!(" (there is no hosts file in {})", home.display()) } else { String::new() };
    hosts.select(&words).map_err(|why| UsageError::BadValue { option: "--hosts".into(), reason: format!("{why}{}", missing()) }.into())
}

fn read(cx: &mut Cx, home: &Path) -> Result<Hosts, CliError> {
    let found: Vec<_> = NAMES.iter().map(|name| home.join(name)).filter(|path| path.exists()).collect();
    let path = match found.as_slice() {
        [] => return Ok(Hosts::default()),
        [path] => path,
        [one, other, ..] => {
            return Err(FleetError::TwoFiles(one.clone(), other.clone()).into());
        }
    };
    let shown = path.display().to_string();
    let value = ostler_config::values(path, &shown)?;
    let (hosts, unknown) = Hosts::of(&value).map_err(|source| FleetError::Hosts { file: shown.clone(), source })?;
    for key in unknown {
        cx.out.warn_err(format_args!("{shown}: {}: no such key", crate::text::shown(&key)));
    }
    Ok(hosts)
}
