//! An nginx with a configuration of its own.

use crate::measure;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running nginx. Dropping it stops it.
pub(crate) struct Nginx(Child);

impl Nginx {
    /// Starts this many workers with these lines inside `http`; none if nginx is not installed.
    pub(crate) fn start(folder: &Path, workers: usize, http: &str) -> Result<Option<Nginx>> {
        // Debian's folder is not on the PATH of ordinary users.
        let Some(program) = measure::installed("nginx", &["/usr/sbin"]) else { return Ok(None) };
        let temporary: String =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().map(|name| format!("{name}_temp_path {name};\n")).collect();
        // Without root, nginx keeps its user and logs that.
        let text = format!(
            "user root;\nworker_processes {workers};\ndaemon off;\npid pid;\nerror_log error.log;\nevents {{ worker_connections 512; }}\n\
             http {{\naccess_log off;\nkeepalive_requests 100000000;\n{temporary}{http}\n}}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, text).context("cannot write nginx.conf")?;
        let mut command = Command::new(program);
        command.arg("-p").arg(folder).arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Some(Nginx(command.spawn().context("cannot run nginx")?)))
    }

    /// Returns its workers.
    pub(crate) fn workers(&self) -> Result<Vec<i32>> {
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).context("nginx is gone")?;
        Ok(children.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}
