//! A hundred apps at rest with the dashboard on: its memory and CPU, without a viewer and with one
//! browser.

use super::dashboard::{Dashboard, processes};
use crate::contender::ManagerKind;
use crate::lab::{Lab, Subject, TurnResult};
use crate::measure;
use crate::report::Row;
use crate::scenario::{ms, wait_until_idle};
use anyhow::{Context, Result, ensure};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

pub(super) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    // Whole multiples of the ten seconds between two samples of the history.
    let time = Duration::from_secs(if lab.quick { 20 } else { 60 });
    let rows = [
        Row::new("dashboard on, 100 apps at rest: memory of its process, PSS (floor: Netdata)", "MB", "≤ 8"),
        Row::new("… memory of its reader of standard error, PSS", "MB", ""),
        Row::new("… CPU per second of both, while nobody looks (floor: Netdata)", "ms/s", "≤ 0.5"),
        Row::new("… wake-ups per second of both", "1/s", ""),
        Row::new("… wake-ups per second of the daemon", "1/s", "≤ 1"),
        Row::new("… CPU per second of both, while one browser's stream is open", "ms/s", "≤ 5"),
        Row::new("… memory of its process then, PSS", "MB", "≤ 8"),
    ];
    Ok(lab.rows(1, rows, |subject| match subject {
        Subject::Manager(ManagerKind::Ostler) => {
            let manager = lab.manager(ManagerKind::Ostler)?;
            manager.start_all(&lab.apps(100, &["pause"]))?;
            let dashboard = Dashboard::on(&manager)?;
            let (web, reader) = processes(&manager)?;
            let (both, daemon) = ([web, reader], manager.daemon()?);
            wait_until_idle();
            // It takes its first samples, and memory from the start is returned.
            thread::sleep(Duration::from_secs(if lab.quick { 4 } else { 20 }));
            let before = (measure::cpu(&both), measure::sleeps(&both), measure::sleeps(&[daemon]));
            thread::sleep(time);
            let seconds = time.as_secs_f64();
            let cpu = ms(measure::cpu(&both).saturating_sub(before.0)) / seconds;
            let sleeps = (measure::sleeps(&both) - before.1) as f64 / seconds;
            let of_daemon = (measure::sleeps(&[daemon]) - before.2) as f64 / seconds;
            let memory = [measure::memory(&[web]).pss, measure::memory(&[reader]).pss].map(|pss| pss as f64 / 1e6);
            let mut stream = dashboard.ask("/api/live")?;
            let watcher = thread::spawn(move || {
                let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
                while let Ok(count) = stream.read(&mut buffer) {
                    bytes += count;
                    if count == 0 {
                        break;
                    }
                }
                bytes
            });
            wait_until_idle();
            let before = measure::cpu(&both);
            thread::sleep(time / 2);
            let watched = ms(measure::cpu(&both).saturating_sub(before)) / (time / 2).as_secs_f64();
            let then = measure::memory(&[web]).pss as f64 / 1e6;
            drop(manager);
            ensure!(watcher.join().is_ok_and(|bytes| bytes > 0), "nothing came over the stream");
            Ok(TurnResult::Values([memory[0], memory[1], cpu, sleeps, of_daemon, watched, then]))
        }
        Subject::Manager(_) => Ok(TurnResult::LeftOut("–")),
        Subject::Floor => match Netdata::start(lab) {
            Ok(netdata) => {
                thread::sleep(Duration::from_secs(20));
                let pids = netdata.pids();
                let before = measure::cpu(&pids);
                thread::sleep(time);
                let cpu = ms(measure::cpu(&pids).saturating_sub(before)) / time.as_secs_f64();
                let memory = measure::memory(&pids).pss as f64 / 1e6;
                Ok(TurnResult::Values([memory, f64::NAN, cpu, f64::NAN, f64::NAN, f64::NAN, f64::NAN]))
            }
            Err(error) => {
                eprintln!("{error:#}: left out");
                Ok(TurnResult::LeftOut("–"))
            }
        },
    }))
}

/// Debian's Netdata (`netdata-core`) with its defaults, except for a private folder; it measures
/// the machine, and no apps.
struct Netdata {
    child: Child,
    folder: std::path::PathBuf,
}

impl Netdata {
    fn start(lab: &Lab) -> Result<Netdata> {
        let folder = lab.fresh()?;
        for name in ["cache", "lib", "log"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let file = folder.join("netdata.conf");
        let of = |name: &str| folder.join(name).display().to_string();
        let text = format!(
            "[global]\nrun as user = {}\n[directories]\ncache = {}\nlib = {}\nlog = {}\n[web]\nbind to = 127.0.0.1:{}\n[cloud]\nenabled = no\n",
            if rustix::process::geteuid().is_root() { "root" } else { "" },
            of("cache"),
            of("lib"),
            of("log"),
            ostler_testkit::free_port()
        );
        std::fs::write(&file, text).context("cannot write Netdata's settings")?;
        let mut command = Command::new("netdata");
        command.args(["-D", "-c"]).arg(&file).env("HOME", &folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("there is no netdata")?;
        Ok(Netdata { child, folder })
    }

    /// Returns its pid and those of its collectors.
    fn pids(&self) -> Vec<i32> {
        measure::marked(&self.folder).unwrap_or_default().into_iter().map(|process| process.pid).collect()
    }
}

impl Drop for Netdata {
    fn drop(&mut self) {
        let _ = self.child.kill();
        measure::kill_marked(&self.folder);
        let _ = self.child.wait();
    }
}
