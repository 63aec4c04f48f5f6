//! Dashboard of a manager: turns it on with a token, and reads its answers.

use crate::contender::Contender;
use crate::measure;
use anyhow::{Context, Result, ensure};
use ostler_testkit::free_port;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Time limit of every operation.
const LIMIT: Duration = Duration::from_secs(120);

/// A running dashboard.
pub(crate) struct Dashboard {
    port: u16,
    token: String,
}

impl Dashboard {
    /// Turns it on.
    pub(crate) fn on(manager: &Contender) -> Result<Dashboard> {
        let port = free_port();
        manager.call(manager.client(&["web", "enable", "--port", &port.to_string()]))?;
        let token = manager.client(&["web", "token", "bench"]).stdout(std::process::Stdio::piped()).output().context("no token")?;
        ensure!(token.status.success(), "no token is made");
        let dashboard = Dashboard { port, token: String::from_utf8(token.stdout)?.trim().to_owned() };
        dashboard.get("/api/apps")?;
        Ok(dashboard)
    }

    /// Sends a request on a new connection; the answer arrives over it.
    pub(crate) fn ask(&self, path: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).context("the dashboard does not listen")?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        let Self { port, token } = self;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n")?;
        Ok(stream)
    }

    /// Returns the whole answer, including its head.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        whole(self.ask(path)?)
    }
}

/// Reads a connection to its end; the answer must be good.
pub(crate) fn whole(mut stream: TcpStream) -> Result<String> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    ensure!(answer.starts_with("HTTP/1.1 200"), "{}", answer.lines().next().unwrap_or("no answer"));
    Ok(answer)
}

/// Returns its process, and the process that follows standard error for it.
pub(crate) fn processes(manager: &Contender) -> Result<(i32, i32)> {
    let mut found = (0, 0);
    measure::wait(Duration::from_secs(20), || {
        let marked = measure::marked(manager.folder()).unwrap_or_default();
        let of = |word: &str| marked.iter().find(|process| process.command.contains(word)).map_or(0, |process| process.pid);
        found = (of("\0web-server\0"), of("\0logs\0--json\0--err\0"));
        found.0 > 0 && found.1 > 0
    });
    ensure!(found.0 > 0 && found.1 > 0, "the dashboard has not both of its processes: {found:?}");
    Ok(found)
}
