//! The hosts file of a home: `hosts.yaml`, `hosts.yml`, `hosts.json` or `hosts.toml`.

use std::path::Path;

use ostler_core::message;
use ostler_core::text::suggest::did_you_mean;
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
    for (word, question) in misspelt(&hosts, &words) {
        cx.out.warn_err(message!(
            "{word} is not in the hosts file, so it is used as an address; {question}",
            word = crate::text::shown(word),
            question
        ));
    }
    hosts.select(&words).map_err(|why| {
        let reason = if hosts == Hosts::default() {
            message!("{reason} (there is no hosts file in {folder})", reason = why, folder = home.display())
        } else {
            why.to_string()
        };
        UsageError::BadValue { option: "--hosts".into(), reason }.into()
    })
}

/// Returns the words that are close to a name of the file, each with the question. A word may also
/// be the address of another host, so it is no error.
fn misspelt<'a>(hosts: &Hosts, words: &[&'a str]) -> Vec<(&'a str, String)> {
    let all = words.iter().flat_map(|word| word.split(',')).map(str::trim);
    let unknown = all.filter(|word| !word.contains(['@', ':', '.']) && !hosts.names().any(|name| name == *word));
    unknown.filter_map(|word| Some((word, did_you_mean(word, hosts.names())?))).collect()
}

fn read(cx: &mut Cx, home: &Path) -> Result<Hosts, CliError> {
    let Some((shown, hosts, unknown)) = parse(home)? else { return Ok(Hosts::default()) };
    for key in unknown {
        let last = key.rsplit('.').next().unwrap_or(&key);
        let near = did_you_mean(last, Hosts::KEYS.iter().copied()).map(|question| format!(", {question}")).unwrap_or_default();
        cx.out.warn_err(message!("{file}: {key}: no such key{near}", file = shown, key = crate::text::shown(&key), near));
    }
    Ok(hosts)
}

/// Returns the hosts file of a home with its path and unknown keys; none if it does not exist.
///
/// # Errors
/// Returns an error if the file is invalid, or if there are two.
fn parse(home: &Path) -> Result<Option<(String, Hosts, Vec<String>)>, CliError> {
    let found: Vec<_> = NAMES.iter().map(|name| home.join(name)).filter(|path| path.exists()).collect();
    let path = match found.as_slice() {
        [] => return Ok(None),
        [path] => path,
        [one, other, ..] => {
            return Err(FleetError::TwoFiles(one.clone(), other.clone()).into());
        }
    };
    let shown = path.display().to_string();
    let value = ostler_config::values(path, &shown)?;
    let (hosts, unknown) = Hosts::of(&value).map_err(|source| FleetError::Hosts { file: shown.clone(), source })?;
    Ok(Some((shown, hosts, unknown)))
}

/// Returns the hosts of a home; none if the file is missing or invalid.
pub(crate) fn known_hosts(home: &Path) -> Option<Hosts> {
    parse(home).ok().flatten().map(|(_, hosts, _)| hosts)
}

/// Returns the hosts of a home for the dashboard.
///
/// # Errors
/// Returns one line if the file is invalid, or if there are two.
#[cfg(feature = "web")]
pub(crate) fn dashboard_hosts(home: &Path) -> Result<Vec<ostler_web::ConfiguredHost>, String> {
    let Some((_, hosts, _)) = parse(home).map_err(|error| error.to_string())? else { return Ok(Vec::new()) };
    let configured = |member: &Member| ostler_web::ConfiguredHost {
        name: member.name.clone(),
        host: member.login.host.name.clone(),
        user: member.login.host.user.clone(),
        port: member.login.host.port,
        is_here: member.is_local(),
        dashboard: member.dashboard.clone(),
    };
    Ok(hosts.all().iter().map(configured).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_hosts_are_found() {
        let (hosts, _) = Hosts::of(&serde_json::json!({"hosts": {"web1": "10.0.0.1"}, "groups": {"back": ["web1"]}})).unwrap();
        for (words, expected) in [
            ("wbe1", vec![("wbe1", "did you mean `web1`?")]),
            ("web1, bakc", vec![("bakc", "did you mean `back`?")]),
            ("web1,all,user@wbe1,wbe1:22,wbe1.example.com,database", vec![]),
        ] {
            let found = misspelt(&hosts, &[words]);
            assert_eq!(found.iter().map(|(word, question)| (*word, question.as_str())).collect::<Vec<_>>(), expected);
        }
    }
}
