//! Network checks of rules.

use std::time::Duration;

use hyper::Method;
use ostler_alerts::channel::Url;
use ostler_alerts::input::CheckResult;
use ostler_alerts::rule::{Check, CheckTarget};
use tokio::time::timeout;

use crate::http::client::exchange;
use crate::http::client_tls as tls;

/// Runs a check.
///
/// # Errors
/// Returns a description of the problem, which follows the name of the target.
pub(super) async fn check(check: &Check) -> Result<CheckResult, String> {
    let limit = Duration::from_millis(check.timeout_ms);
    match timeout(limit, ask(check)).await {
        Ok(result) => result,
        Err(_) => Err(format!("did not answer within {} ms", check.timeout_ms)),
    }
}

async fn ask(check: &Check) -> Result<CheckResult, String> {
    match &check.target {
        CheckTarget::Http { url, status } => {
            let url = Url::parse(url).ok_or("has no valid address")?;
            let got = exchange(Method::GET, &url, &[] as &[(&str, String)], String::new()).await?;
            let is = got.answer.status;
            match status {
                Some(expected) if *expected != is => Err(format!("{} answered {is} instead of {expected}", url.origin())),
                None if is >= 400 => Err(format!("{} answered {is}", url.origin())),
                _ => Ok(CheckResult { certificate_days: got.certificate_days }),
            }
        }
        CheckTarget::Tcp(address) => {
            let (host, port) = address.rsplit_once(':').ok_or("has no valid address")?;
            let port = port.parse().map_err(|_| "has no valid port".to_owned())?;
            tls::connect(host.trim_matches(['[', ']']), port).await.map(|_| CheckResult::default())
        }
    }
}
