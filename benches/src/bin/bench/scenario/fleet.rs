//! A command on twenty hosts: each is an `sshd` on a loopback port with a daemon behind it. The
//! floor is twenty parallel `ssh host true`.

use super::ms;
use crate::contender::{Contender, ManagerKind};
use crate::lab::{Lab, Subject, TurnResult};
use crate::report::Row;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const HOSTS: u16 = 20;
const SSHD: &str = "/usr/sbin/sshd";
/// First port of the hosts.
const FIRST_PORT: u16 = 18_400;

pub(crate) fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let rows = [Row::new("`list` of 20 hosts over ssh (floor: 20 × `ssh host true` at once)", "ms", "≤ floor + 100")];
    Ok(lab.rows(lab.rounds(7, 2), rows, |subject| {
        if !Path::new(SSHD).exists() {
            return Ok(TurnResult::LeftOut("no sshd here"));
        }
        let time = match subject {
            Subject::Manager(ManagerKind::Ostler) => {
                let hosts = Hosts::new(lab)?;
                hosts.begin_all()?;
                let client = lab.manager(ManagerKind::Ostler)?;
                hosts.write_file(&client.home().join("hosts.json"))?;
                let list = || client.call(client.client(&["-H", "all", "list", "--parallel", "20"]));
                // This first call writes the known hosts and reads programs from disk.
                list()?;
                list()?.wall
            }
            Subject::Manager(_) => return Ok(TurnResult::LeftOut("none")),
            Subject::Floor => {
                let hosts = Hosts::new(lab)?;
                hosts.all_at_once()?;
                let begin = Instant::now();
                hosts.all_at_once()?;
                begin.elapsed()
            }
        };
        Ok(TurnResult::Values([ms(time)]))
    }))
}

/// The servers; dropping this stops them.
struct Hosts {
    folder: PathBuf,
    servers: Vec<Child>,
    daemons: Vec<Contender>,
}

impl Hosts {
    fn new(lab: &Lab) -> Result<Self> {
        let folder = lab.fresh()?;
        for key in ["host", "id"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", key]).current_dir(&folder).status();
            ensure!(made.context("cannot run ssh-keygen")?.success(), "ssh-keygen failed");
        }
        fs::copy(folder.join("id.pub"), folder.join("authorized_keys"))?;
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd")?;
        }
        let mut hosts = Self { folder, servers: Vec::new(), daemons: Vec::new() };
        let program = lab.program(ManagerKind::Ostler)?.parent().context("no folder of ostler")?.to_path_buf();
        for number in 0..HOSTS {
            let daemon = lab.manager(ManagerKind::Ostler)?;
            let (d, port) = (hosts.folder.display(), FIRST_PORT + number);
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {d}/host\nAuthorizedKeysFile {d}/authorized_keys\nPidFile none\nPasswordAuthentication no\n\
                 StrictModes no\nUsePAM no\nSetEnv HOME={} OSTLER_HOME={} PATH={}:/usr/bin:/bin\n",
                daemon.folder().display(),
                daemon.home().display(),
                program.display(),
            );
            let file = hosts.folder.join(format!("config-{number}"));
            fs::write(&file, config)?;
            let mut server = Command::new(SSHD);
            server.arg("-D").arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            hosts.servers.push(server.spawn().context("cannot run sshd")?);
            hosts.daemons.push(daemon);
        }
        for number in 0..HOSTS {
            let listens = || TcpStream::connect(("127.0.0.1", FIRST_PORT + number)).is_ok();
            ensure!(crate::measure::wait(Duration::from_secs(20), listens), "sshd {number} does not listen");
        }
        Ok(hosts)
    }

    /// Starts an app on each of them.
    fn begin_all(&self) -> Result<()> {
        self.daemons.iter().try_for_each(|daemon| daemon.call(daemon.client(&["start", "sleep 1000"])).map(drop))
    }

    fn options(&self) -> [String; 3] {
        let known = format!("UserKnownHostsFile={}", self.folder.join("known").display());
        ["StrictHostKeyChecking=no".into(), known, "LogLevel=ERROR".into()]
    }

    fn write_file(&self, path: &Path) -> Result<()> {
        let hosts: Map<String, Value> =
            (0..HOSTS).map(|number| (format!("h{number}"), json!({ "host": "127.0.0.1", "port": FIRST_PORT + number }))).collect();
        let defaults = json!({ "key": self.folder.join("id"), "ssh_options": self.options() });
        Ok(fs::write(path, json!({ "defaults": defaults, "hosts": hosts }).to_string())?)
    }

    fn all_at_once(&self) -> Result<()> {
        let ssh = |number: u16| {
            let mut command = Command::new("ssh");
            command.args(["-F", "none", "-o", "BatchMode=yes", "-p"]).arg((FIRST_PORT + number).to_string());
            command.arg("-i").arg(self.folder.join("id"));
            for option in self.options() {
                command.arg("-o").arg(option);
            }
            command.args(["127.0.0.1", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
        };
        let running = (0..HOSTS).map(ssh).collect::<std::io::Result<Vec<Child>>>().context("cannot run ssh")?;
        for mut child in running {
            ensure!(child.wait()?.success(), "ssh failed");
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for server in &mut self.servers {
            drop(server.kill());
            drop(server.wait());
        }
    }
}
