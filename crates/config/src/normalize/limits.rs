//! User, priority, mask and resource limits.

use ostler_core::app::AppSpec;
use ostler_core::message;
use ostler_core::text::units;
use serde_json::Value;

use crate::check::RawApp;
use crate::context::Context;
use crate::fault::{Fault, below};
use crate::problem::{Problem, ProblemKind};
use crate::values::{describe_value, text_of, whole};

/// Names of resources, as in ulimit and systemd without `Limit`.
const RESOURCES: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(super) fn set(spec: &mut AppSpec, key: &str, value: &Value) -> Result<(), Fault> {
    match key {
        "uid" => spec.uid = account(value)?,
        "gid" => spec.gid = account(value)?,
        "nice" => spec.limits.nice = value.as_i64().and_then(|nice| i32::try_from(nice.min(19)).ok()),
        "umask" => spec.limits.umask = Some(mask(value)?),
        "rlimits" => {
            let table = value.as_object().into_iter().flatten();
            spec.limits.rlimits =
                table.map(|(name, value)| resource(name, value).map_err(below(name.as_str()))).collect::<Result<_, _>>()?;
        }
        _ => {}
    }
    Ok(())
}

/// Drops a priority that the caller may not set, with a warning: an ordinary user can then try a
/// file that is valid on a server.
pub(super) fn drop_forbidden_nice(spec: &mut AppSpec, raw: &RawApp, context: &Context, problems: &mut Vec<Problem>) {
    if let Some(nice) = spec.limits.nice.filter(|nice| *nice < context.lowest_nice) {
        spec.limits.nice = None;
        let message = message!("{nice} needs root or CAP_SYS_NICE; it runs with the default priority", nice);
        problems.push(raw.problem(ProblemKind::Value, "nice", message).as_warning());
    }
}

fn account(value: &Value) -> Result<Option<String>, String> {
    let text = text_of(value);
    if text.chars().any(|c| c.is_control() || c == ':' || c == '/') || text.len() > 255 {
        return Err(message!("{found} is not the name of a user or group", found = describe_value(value)));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Returns the bits of `"027"`, or of a number unchanged.
pub(super) fn mask(value: &Value) -> Result<u32, String> {
    let bits = match value {
        Value::String(text) => {
            let digits = text.trim().trim_start_matches("0o");
            u32::from_str_radix(digits, 8).ok()
        }
        value => value.as_u64().and_then(|mask| u32::try_from(mask).ok()),
    };
    bits.filter(|mask| *mask <= 0o777)
        .ok_or_else(|| message!("expected an octal mask such as \"022\", found {found}", found = describe_value(value)))
}

type Limit = (String, Option<u64>, Option<u64>);

fn resource(name: &str, value: &Value) -> Result<Limit, String> {
    let plain = name.to_ascii_lowercase();
    let plain = plain.strip_prefix("rlimit_").or(plain.strip_prefix("limit")).unwrap_or(&plain);
    let Some(resource) = RESOURCES.iter().find(|known| **known == plain) else {
        let hint = crate::keys::closest(plain, RESOURCES.iter().copied()).map(|near| message!(", did you mean \"{near}\"?", near));
        return Err(message!("unknown resource \"{name}\"{near}", name, near = hint.unwrap_or_default()));
    };
    let (soft, hard) = match value {
        Value::Array(pair) => match pair.as_slice() {
            [soft, hard] => (bound(name, soft)?, bound(name, hard)?),
            _ => return Err(message!("expected two limits (soft, hard) for \"{name}\", found {count} of them", name, count = pair.len())),
        },
        value => {
            let bound = bound(name, value)?;
            (bound, bound)
        }
    };
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(message!("the soft limit of \"{name}\" is above the hard one", name));
    }
    Ok(((*resource).to_owned(), soft, hard))
}

/// Reads a bound; none is unlimited.
fn bound(name: &str, value: &Value) -> Result<Option<u64>, String> {
    let bad = || message!("expected a number, a size or \"unlimited\" for \"{name}\", found {found}", name, found = describe_value(value));
    match value {
        Value::String(text) if matches!(text.trim(), "unlimited" | "infinity") => Ok(None),
        Value::String(text) => units::bytes(text).map(Some).map_err(|_| bad()),
        value => whole(value).and_then(|number| u64::try_from(number).ok()).map(Some).ok_or_else(bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn umask_accepts_octal_text_or_plain_number() {
        assert_eq!(mask(&json!("022")), Ok(0o22));
        assert_eq!(mask(&json!("0o27")), Ok(0o27));
        assert_eq!(mask(&json!(18)), Ok(0o22));
        for bad in [json!("9"), json!(1000), json!("1777"), json!("")] {
            assert!(mask(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resource_limits_parse_in_every_form() {
        let limit = |name: &str, value| resource(name, &value);
        assert_eq!(limit("nofile", json!(65536)), Ok(("nofile".into(), Some(65536), Some(65536))));
        assert_eq!(limit("LimitCORE", json!("unlimited")), Ok(("core".into(), None, None)));
        assert_eq!(limit("RLIMIT_AS", json!(["1G", "infinity"])), Ok(("as".into(), Some(1 << 30), None)));
        for (name, value) in
            [("nofiles", json!(1)), ("nofile", json!([2, 1])), ("nofile", json!([1])), ("nofile", json!(-1)), ("nofile", json!(true))]
        {
            assert!(limit(name, value.clone()).is_err(), "{name} {value}");
        }
    }
}
