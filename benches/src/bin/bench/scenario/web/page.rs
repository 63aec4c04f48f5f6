//! The page in a headless Chromium over a hundred apps: the time until it is usable, and from an
//! event of the daemon to its line.

use super::dashboard::Dashboard;
use crate::contender::ManagerKind;
use crate::lab::{Lab, Subject, TurnResult};
use crate::report::Row;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [
        Row::new("page over 100 apps, a browser that has seen it: from the request to its buttons, median of 5", "ms", "≤ 300"),
        Row::new("… from an event of the daemon to its line, median", "ms", ""),
        Row::new("… 99 of 100", "ms", "≤ 100"),
    ];
    let driver = ostler_testkit::cache_dir().map(|folder| folder.join("browser")).filter(|folder| folder.join("node_modules").is_dir());
    Ok(lab.rows(1, rows, |subject| {
        let (Subject::Manager(ManagerKind::Ostler), Some(driver)) = (subject, &driver) else { return Ok(TurnResult::LeftOut("–")) };
        let manager = lab.manager(ManagerKind::Ostler)?;
        let apps = lab.apps(100, &["pause"]);
        manager.start_all(&apps)?;
        Dashboard::on(&manager)?;
        let link = manager.client(&["web", "open"]).stdout(Stdio::piped()).output().context("no link")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/web/live.mjs");
        let mut command = Command::new("node");
        command.arg(script).args([String::from_utf8(link.stdout)?.trim(), "-", "-", &apps[0].name]);
        let output = command.env("PUPPETEER_FROM", driver.join("from.js")).output().context("cannot run node")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let report_failures: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
        Ok(TurnResult::Values(["usable_ms", "event_p50_ms", "event_p99_ms"].map(|name| report_failures[name].as_f64().unwrap_or(f64::NAN))))
    }))
}
