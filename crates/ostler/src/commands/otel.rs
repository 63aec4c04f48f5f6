//! `install-otel`, `uninstall-otel`: OpenTelemetry's packages for apps with `trace`, by npm.

use std::fs;
use std::path::Path;

use serde_json::json;

use ostler_core::{marked, message};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};

/// Packages that npm installs.
const PACKAGES: [&str; 2] = ["@opentelemetry/api", "@opentelemetry/auto-instrumentations-node"];

/// Installs the packages into a folder beside the present one, and replaces the present folder only
/// if the installation succeeds.
pub(crate) fn install(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    crate::home::prepare(&home, cx.program)?;
    let (place, fresh) = (home.join("otel"), home.join("otel.new"));
    remove(&fresh)?;
    fs::create_dir(&fresh).map_err(|source| failed(marked!("make"), &fresh, source))?;
    cx.out.info(format_args!("npm install {}", PACKAGES.join(" ")));
    let prefix = fresh.display().to_string();
    let mut words = vec!["install", "--no-audit", "--no-fund", "--omit=dev", "--prefix", &prefix];
    words.extend(PACKAGES);
    if let Err(why) = crate::modules::npm::run(cx, &fresh, &words) {
        remove(&fresh)?;
        return Err(CliError::unchanged(why));
    }
    remove(&place)?;
    fs::rename(&fresh, &place).map_err(|source| failed(marked!("rename"), &fresh, source))?;
    if call.has("json") {
        crate::render::json(&mut cx.out, &json!({ "packages": PACKAGES, "folder": place.display().to_string() }));
        return Ok(Status::Ok);
    }
    cx.out.info(message!("[v] Node apps with `trace: true` (or started with --trace) are traced from their next start on"));
    cx.out.info(message!(
        "Destination of traces: OTEL_EXPORTER_OTLP_ENDPOINT in the app's env, otherwise the dashboard while it is on (`web enable`)"
    ));
    Ok(Status::Ok)
}

/// Removes the packages. Running apps keep the code that they have loaded.
pub(crate) fn uninstall(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    let place = cx.home()?.join("otel");
    if !place.exists() {
        return Err(CliError::NotFound(message!("OpenTelemetry is not installed")));
    }
    remove(&place)?;
    cx.out.info(message!("[v] OpenTelemetry is removed; apps run without it from their next start on"));
    Ok(Status::Ok)
}

fn remove(folder: &Path) -> Result<(), CliError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(marked!("remove"), folder, error)),
        _ => Ok(()),
    }
}

fn failed(what: &'static str, path: &Path, source: std::io::Error) -> CliError {
    CliError::File { what, path: path.display().to_string(), source }
}
