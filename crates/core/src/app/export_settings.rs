//! `export`: settings that other engines need and ostler itself does not.

use serde_json::{Map, Value};

use crate::text::language::translated;
use crate::text::units;
use crate::{marked, message};

/// Keys of the table, and of the tables in it.
const KEYS: &[&str] = &["requests", "service_port", "mirrors"];
const REQUESTS: &[&str] = &["cpu", "memory"];
const MIRRORS: &[&str] = &["npm", "pip", "debian", "alpine"];
/// Longest address of a mirror.
const LONGEST: usize = 255;

/// Settings of an app for `ostler export`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportSettings {
    /// CPU that the engine reserves, in percent of one core.
    pub cpu_request: Option<u32>,
    /// Memory that the engine reserves, in bytes.
    pub memory_request: Option<u64>,
    /// Port of the Service of Kubernetes.
    pub service_port: Option<u16>,
    /// Mirrors from which an image is built.
    pub mirrors: Mirrors,
}

/// Mirrors from which an image is built; none = the usual sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// Address of the registry of npm.
    pub npm: Option<String>,
    /// Address of the index of Python packages.
    pub pip: Option<String>,
    /// Host of the packages of Debian.
    pub debian: Option<String>,
    /// Host of the packages of Alpine.
    pub alpine: Option<String>,
}

/// Reads the value of the key.
///
/// # Errors
/// All faults, in words that follow the key.
pub fn export_settings(value: &Value) -> Result<ExportSettings, Vec<String>> {
    let table = match value {
        Value::Null => return Ok(ExportSettings::default()),
        Value::Object(table) => table,
        _ => return Err(vec![message!("expected a table such as {{service_port: 80}}")]),
    };
    let mut faults = Vec::new();
    known(table, "", KEYS, &mut faults);
    let requests = inner(table, "requests", REQUESTS, &mut faults);
    let mirrors = inner(table, "mirrors", MIRRORS, &mut faults);
    let mirror = |key, is_good: fn(&str) -> bool, expected, faults: &mut _| {
        read(&mirrors, "mirrors.", key, expected, |value| value.as_str().filter(|text| is_good(text)).map(str::to_owned), faults)
    };
    let (address, host) =
        (marked!("an address such as \"https://registry.npmmirror.com\""), marked!("a host such as \"mirrors.aliyun.com\""));
    let settings = ExportSettings {
        cpu_request: read(&requests, "requests.", "cpu", marked!("percent of a core such as 20, or \"200m\""), percent, &mut faults),
        memory_request: read(&requests, "requests.", "memory", marked!("an amount such as \"256M\""), bytes, &mut faults),
        service_port: read(table, "", "service_port", marked!("a port from 1 to 65535"), port, &mut faults),
        mirrors: Mirrors {
            npm: mirror("npm", is_address, address, &mut faults),
            pip: mirror("pip", is_address, address, &mut faults),
            debian: mirror("debian", is_host, host, &mut faults),
            alpine: mirror("alpine", is_host, host, &mut faults),
        },
    };
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

fn known(table: &Map<String, Value>, prefix: &str, keys: &[&str], faults: &mut Vec<String>) {
    for key in table.keys().filter(|key| !keys.contains(&key.as_str())) {
        faults.push(message!(
            "{prefix}{key}: unknown key; expected one of {known}",
            prefix,
            key = key.escape_debug(),
            known = keys.join(", ")
        ));
    }
}

/// Returns the table of this key, or an empty table if the key is missing.
fn inner(table: &Map<String, Value>, key: &str, keys: &[&str], faults: &mut Vec<String>) -> Map<String, Value> {
    match table.get(key) {
        None => Map::new(),
        Some(Value::Object(table)) => {
            known(table, &format!("{key}."), keys, faults);
            table.clone()
        }
        Some(_) => {
            faults.push(message!("{key}: expected a table with {keys}", key, keys = keys.join(", ")));
            Map::new()
        }
    }
}

fn read<T>(
    table: &Map<String, Value>,
    prefix: &str,
    key: &str,
    expected: &'static str,
    parse: impl Fn(&Value) -> Option<T>,
    faults: &mut Vec<String>,
) -> Option<T> {
    let value = table.get(key)?;
    let parsed = parse(value);
    if parsed.is_none() {
        faults.push(message!("{prefix}{key}: expected {expected}", prefix, key, expected = translated(expected)));
    }
    parsed
}

/// Reads a percentage of a core: `20`, `"20%"`, or thousandths of a core as in Kubernetes,
/// `"200m"`.
fn percent(value: &Value) -> Option<u32> {
    let number = match value {
        Value::String(text) => {
            let text = text.trim();
            match text.strip_suffix('m') {
                Some(thousandths) => thousandths.parse::<u32>().ok().filter(|count| count.is_multiple_of(10))? / 10,
                None => units::whole_percent(text)?,
            }
        }
        value => u32::try_from(value.as_u64()?).ok()?,
    };
    (1..=1_000_000).contains(&number).then_some(number)
}

fn bytes(value: &Value) -> Option<u64> {
    units::bytes_of(value).filter(|bytes| *bytes > 0)
}

fn port(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok().filter(|port| *port > 0)
}

/// Returns true for an address that needs no quotes in a Dockerfile.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let good = |c: char| c.is_ascii_alphanumeric() || ".-_~:/".contains(c);
        text.len() <= LONGEST && rest.starts_with(|c: char| c.is_ascii_alphanumeric()) && rest.chars().all(good)
    })
}

/// Returns true for a host name with an optional port.
fn is_host(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
    text.len() <= LONGEST && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn export_settings_are_read_from_tables() {
        let all = json!({
            "requests": {"cpu": "200m", "memory": "256M"}, "service_port": 80,
            "mirrors": {"npm": "https://registry.npmmirror.com", "pip": "https://mirrors.aliyun.com/pypi/simple/", "debian": "mirrors.aliyun.com", "alpine": "mirrors.aliyun.com"}
        });
        let settings = export_settings(&all).unwrap();
        assert_eq!((settings.cpu_request, settings.memory_request, settings.service_port), (Some(20), Some(256 << 20), Some(80)));
        assert_eq!(settings.mirrors.npm.as_deref(), Some("https://registry.npmmirror.com"));
        assert_eq!(
            (settings.mirrors.debian.as_deref(), settings.mirrors.alpine.as_deref()),
            (Some("mirrors.aliyun.com"), Some("mirrors.aliyun.com"))
        );
        for (cpu, percent) in
            [(json!(20), Some(20)), (json!("150%"), Some(150)), (json!(0), None), (json!("205m"), None), (json!(-1), None)]
        {
            assert_eq!(
                export_settings(&json!({"requests": {"cpu": cpu}})).ok().and_then(|settings| settings.cpu_request),
                percent,
                "{cpu}"
            );
        }
        for nothing in [json!(null), json!({}), json!({"requests": {}, "mirrors": {}})] {
            assert_eq!(export_settings(&nothing), Ok(ExportSettings::default()));
        }
    }

    #[test]
    fn export_setting_errors_name_the_key() {
        for (value, fault) in [
            (json!(3), "expected a table"),
            (json!({"request": {}}), "request: unknown key; expected one of requests"),
            (json!({"requests": 3}), "requests: expected a table"),
            (json!({"requests": {"disk": 1}}), "requests.disk: unknown key"),
            (json!({"requests": {"memory": "much"}}), "requests.memory: expected an amount"),
            (json!({"service_port": 0}), "service_port: expected a port"),
            (json!({"mirrors": {"npm": "registry.npmmirror.com"}}), "mirrors.npm: expected an address"),
            (json!({"mirrors": {"npm": "https://a b"}}), "mirrors.npm: expected an address"),
            (json!({"mirrors": {"npm": "https://a\nRUN x"}}), "mirrors.npm: expected an address"),
            (json!({"mirrors": {"debian": "https://mirrors.aliyun.com"}}), "mirrors.debian: expected a host"),
            (json!({"mirrors": {"alpine": "a|b"}}), "mirrors.alpine: expected a host"),
        ] {
            let faults = export_settings(&value).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(fault), "{value}: {faults:?}");
        }
    }
}
