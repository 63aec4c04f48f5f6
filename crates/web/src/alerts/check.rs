//! Network checks of rules.

use std::time::Duration;

use hyper::Method;
use ostler_alerts::channel::Url;
use ostler_alerts::input::CheckResult;
use ostler_alerts::rule::{Check, CheckTarget};
use tokio::time::timeout;

use crate::http::client::{ExchangeError, exchange};
use crate::http::client_tls::{self as tls, ConnectError};

/// Reason why a check failed. The texts follow the name of the target.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error("did not answer within {0} ms")]
    TimedOut(u64),
    #[error("has no valid address")]
    Address,
    #[error("has no valid port")]
    Port,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("{origin} answered {status}{}", .expected.map_or_else(String::new, |expected| format!(" instead of {expected}")))]
    Status { origin: String, status: u16, expected: Option<u16> },
}

/// Runs a check.
///
/// # Errors
/// Returns an error if the check failed.
pub(super) async fn check(check: &Check) -> Result<CheckResult, CheckError> {
    let limit = Duration::from_millis(check.timeout_ms);
    match timeout(limit, ask(check)).await {
        Ok(result) => result,
        Err(_) => Err(CheckError::TimedOut(check.timeout_ms)),
    }
}

async fn ask(check: &Check) -> Result<CheckResult, CheckError> {
    match &check.target {
        CheckTarget::Http { url, status } => {
            let url = Url::parse(url).ok_or(CheckError::Address)?;
            let got = exchange(Method::GET, &url, &[] as &[(&str, String)], String::new()).await?;
            let (status, expected) = (got.answer.status, *status);
            if expected.map_or(status < 400, |expected| expected == status) {
                Ok(CheckResult { certificate_days: got.certificate_days })
            } else {
                Err(CheckError::Status { origin: url.origin(), status, expected })
            }
        }
        CheckTarget::Tcp(address) => {
            let (host, port) = address.rsplit_once(':').ok_or(CheckError::Address)?;
            let port = port.parse().map_err(|_| CheckError::Port)?;
            tls::connect(host.trim_matches(['[', ']']), port).await?;
            Ok(CheckResult::default())
        }
    }
}
