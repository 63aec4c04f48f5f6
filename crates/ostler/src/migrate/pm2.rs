//! Client of PM2's daemon.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ostler_core::{marked, message};
use ostler_keeper::ROLE_VAR;
use ostler_proto::pm2::amp::Decoder;
use ostler_proto::pm2::rpc::{answer, invocation};
use ostler_sys::ProcRef;
use serde_json::{Value, json};

use crate::error::{CliError, MigrateError};

/// Longest answer: a list of some thousand apps with their environments.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Longest wait for an answer. PM2 answers `stopProcessId` only after the process has exited.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection to PM2's daemon.
pub(crate) struct Pm2 {
    stream: UnixStream,
    decoder: Decoder,
    last: u32,
    /// Process of the daemon.
    pub process: ProcRef,
}

impl Pm2 {
    /// Connects to the daemon of this home; returns none if no process listens.
    ///
    /// # Errors
    /// Returns an error if the listening process is not PM2, or if it belongs to another user.
    pub(crate) fn connect(home: &Path) -> Result<Option<Self>, CliError> {
        let path = crate::home::shell_paths(home).calls;
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(CliError::File { what: marked!("connect to"), path: path.display().to_string(), source }),
        };
        let peer = ostler_sys::net::socket::peer(&stream).ok().filter(|peer| peer.pid > 0);
        let process = peer.as_ref().and_then(|peer| ProcRef::of(peer.pid).ok());
        let (Some(peer), Some(process)) = (peer, process) else {
            return Err(MigrateError::Unseen(path).into());
        };
        let own = rustix::process::geteuid().as_raw();
        if peer.uid != own {
            return Err(MigrateError::OtherUser { folder: home.to_owned(), uid: peer.uid, own }.into());
        }
        if ostler_sys::process::tree::marker(peer.pid, ROLE_VAR).is_some() {
            return Err(MigrateError::Ostler(home.to_owned()).into());
        }
        let limits = stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).and_then(|()| stream.set_write_timeout(Some(RESPONSE_TIMEOUT)));
        limits.map_err(|source| CliError::File { what: marked!("use"), path: path.display().to_string(), source })?;
        Ok(Some(Self { stream, decoder: Decoder::with_limit(MAX_ANSWER_BYTES), last: 0, process }))
    }

    /// Returns its version.
    pub(crate) fn version(&mut self) -> Result<String, CliError> {
        let version = self.call("getVersion", &[json!({})])?;
        Ok(version.as_str().unwrap_or("?").to_owned())
    }

    /// Returns its list: `pm2_env` of each instance.
    pub(crate) fn list(&mut self) -> Result<Vec<Value>, CliError> {
        let Value::Array(list) = self.call("getMonitorData", &[json!({})])? else {
            return Err(connection_error(&message!("its list is invalid")));
        };
        let with_pid = |mut item: Value| {
            let pid = item["pid"].take();
            let mut env = item["pm2_env"].take();
            if let Some(env) = env.as_object_mut() {
                env.insert("pid".into(), pid);
            }
            env
        };
        Ok(list.into_iter().map(with_pid).collect())
    }

    /// Stops an instance, which stays in the list. Returns when PM2 reports that the process has
    /// exited.
    pub(crate) fn stop(&mut self, pm_id: u32) -> Result<(), CliError> {
        self.call("stopProcessId", &[json!(pm_id)]).map(drop)
    }

    /// Starts a stopped instance.
    pub(crate) fn start(&mut self, pm_id: u32) -> Result<(), CliError> {
        self.call("restartProcessId", &[json!({ "id": pm_id })]).map(drop)
    }

    /// Stops the daemon. Processes of apps that still run are left behind, and the daemon does not
    /// answer.
    pub(crate) fn end(mut self) -> Result<ProcRef, CliError> {
        // PM2 sends this signal to its clients when it exits.
        ostler_sys::process::signal::ignore(ostler_sys::process::signal::QUIT);
        self.send("killMe", &[json!({ "pid": std::process::id() })])?;
        Ok(self.process)
    }

    fn send(&mut self, method: &str, args: &[Value]) -> Result<Vec<u8>, CliError> {
        self.last += 1;
        let id = format!("{}:{}", std::process::id(), self.last);
        self.stream.write_all(&invocation(&id, method, args)).map_err(|error| connection_error(&error.to_string()))?;
        Ok(ostler_proto::pm2::amp::text(&id))
    }

    fn call(&mut self, method: &str, args: &[Value]) -> Result<Value, CliError> {
        let id = self.send(method, args)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            while let Some(frame) = self.decoder.take().map_err(|error| connection_error(&error.to_string()))? {
                let Some(answer) = answer(frame).filter(|answer| answer.id == id) else { continue };
                let values = answer.result.map_err(|reason| MigrateError::Refused { method: method.to_owned(), reason })?;
                return Ok(values.into_iter().next().unwrap_or_default());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(connection_error(&message!("it closed the connection"))),
                Ok(length) => self.decoder.push(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(connection_error(&message!("no response to {method}", method)));
                }
                Err(error) => return Err(connection_error(&error.to_string())),
            }
        }
    }
}

fn connection_error(why: &str) -> CliError {
    MigrateError::Answer(why.to_owned()).into()
}
