//! `describe`: everything about an app.

use ostler_client::ports::PortScan;
use ostler_core::message;
use ostler_proto::control::Failure;

use crate::cli::Call;
use crate::cx::{Cx, user_name};
use crate::error::{CliError, Status};
use crate::render::face::describe_own;
use crate::render::{DescribeContext, describe, json};
use crate::versioning;

/// Most instances whose processes are searched for ports.
const MOST_WITH_PORTS: usize = 20;

/// Prints tables for each instance that matches.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    // PM2 ignores all targets except the first.
    let targets = if cx.program.is_pm2() { &call.targets[..1] } else { &call.targets[..] };
    let mut details = match cx.find(targets) {
        Err(CliError::Daemon(Failure::NotFound { target })) if cx.program.is_pm2() => {
            cx.out.warn_err(message!("{target} doesn't exist", target));
            return Err(CliError::Reported(Status::NotFound));
        }
        other => other?,
    };
    if call.has("json") {
        json(&mut cx.out, &details);
        return Ok(Status::Ok);
    }
    if !cx.program.is_pm2() && details.len() <= MOST_WITH_PORTS {
        let mut scan = PortScan::take();
        for detail in &mut details {
            detail.learned.ports = scan.lasting_ports(detail).into_iter().collect();
        }
    }
    let env = cx.env();
    let view = cx.out.view();
    for (place, detail) in details.iter().enumerate() {
        let versioning = (!detail.spec.given.is("vizion", false)).then(|| versioning::of_app(&detail.spec)).flatten();
        let around = DescribeContext { program: cx.program.name(), user: &user_name, env: &env, view: &view, versioning };
        let text = if cx.program.is_pm2() { describe(detail, &around) } else { describe_own(detail, &around) };
        if place > 0 && !cx.program.is_pm2() {
            cx.out.line("");
        }
        cx.out.line(text.trim_end_matches('\n'));
    }
    Ok(Status::Ok)
}
