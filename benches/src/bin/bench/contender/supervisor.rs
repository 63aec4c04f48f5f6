//! Differences of supervisor: two programs, and one file for the daemon and its apps.

use super::App;
use anyhow::{Result, ensure};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Descriptors of each app: a pipe for each of stdin, stdout and stderr, and two log files.
const DESCRIPTORS: usize = 5;

/// Returns the client, from the path of the daemon or of the folder with both.
pub(super) fn client(given: &Path) -> Result<PathBuf> {
    let folder = if given.is_dir() { given } else { given.parent().unwrap_or(given) };
    let client = folder.join("supervisorctl");
    for program in [&daemon(&client), &client] {
        ensure!(program.is_file(), "there is no {}", program.display());
    }
    Ok(client)
}

/// Returns the daemon beside the client.
pub(super) fn daemon(client: &Path) -> PathBuf {
    client.with_file_name("supervisord")
}

/// Returns true if a daemon accepts commands in this home.
pub(super) fn runs(home: &Path) -> bool {
    socket(home).exists()
}

fn socket(home: &Path) -> PathBuf {
    home.join("s")
}

/// Returns the file. Each new process of supervisor closes `minfds` descriptors, so `minfds` is
/// just large enough for `room` apps.
pub(super) fn file(home: &Path, apps: &[App], room: usize) -> String {
    let (home_text, socket) = (home.display(), socket(home));
    let descriptors = (room * DESCRIPTORS + 100).max(1024);
    let mut text = format!(
        "[unix_http_server]\nfile={socket}\n\
         [supervisord]\nlogfile={home_text}/log\nlogfile_maxbytes=0\npidfile={home_text}/pid\nminfds={descriptors}\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{socket}\n",
        socket = socket.display()
    );
    for App { name, words, once, .. } in apps {
        // The same settings as for the others: no limit of restarts, a start succeeds immediately,
        // SIGINT first, unlimited logs.
        let _ = write!(
            text,
            "[program:{name}]\ncommand={}\nautorestart={}\nstartsecs=0\nstartretries=1000000\nstopsignal=INT\n\
             stdout_logfile={home_text}/{name}-out.log\nstdout_logfile_maxbytes=0\n\
             stderr_logfile={home_text}/{name}-err.log\nstderr_logfile_maxbytes=0\n",
            words.join(" "),
            !once,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_has_section_per_app_and_enough_descriptors() {
        let mut once = App::new("app-0", &["/bin/tiny", "pause"]);
        once.once = true;
        let home = Path::new("/home/h");
        let text = file(home, &[once, App::new("app-1", &["/bin/tiny"])], 1000);
        for line in [
            "file=/home/h/s",
            "serverurl=unix:///home/h/s",
            "minfds=5100",
            "[program:app-0]\ncommand=/bin/tiny pause\nautorestart=false",
            "[program:app-1]\ncommand=/bin/tiny\nautorestart=true",
            "stdout_logfile=/home/h/app-1-out.log",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
        }
        assert!(file(home, &[], 1).contains("\nminfds=1024\n"));
    }
}
