//! Reading of one instance's page: from this machine, without redirects, with limits on time and
//! size.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use ostler_client::app_rights::AppRights;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Time limit for the whole request.
const WITHIN: Duration = Duration::from_secs(3);
/// Maximum number of bytes.
const MOST_BYTES: usize = 4 << 20;
/// Accepted media types.
const KINDS: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

/// Address of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Loopback port.
    Port(u16),
    /// Socket named by the preload of this process; the connection is made with the rights of the
    /// app's user.
    Instance { path: PathBuf, pid: i32, rights: AppRights },
}

/// Returns the text of a page, or a description of the problem.
pub(super) async fn fetch(address: &Address, port: u16, path: &str) -> Result<String, String> {
    match tokio::time::timeout(WITHIN, read(address, port, path)).await {
        Ok(read) => read,
        Err(_) => Err(format!("did not answer within {} s", WITHIN.as_secs())),
    }
}

async fn read(address: &Address, port: u16, path: &str) -> Result<String, String> {
    match address {
        Address::Port(port) => {
            let four = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).await;
            let stream = match four {
                Ok(stream) => stream,
                Err(error) => {
                    let six = TcpStream::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, *port))).await;
                    six.map_err(|_| format!("cannot connect to port {port}: {error}"))?
                }
            };
            request(stream, *port, path).await
        }
        Address::Instance { path: socket, pid, rights } => {
            let (socket, rights) = (socket.clone(), rights.clone());
            let connected = tokio::task::spawn_blocking(move || rights.connect(&socket)).await.map_err(|error| error.to_string())?;
            let stream = connected.and_then(UnixStream::from_std).map_err(|error| format!("cannot connect to its preload: {error}"))?;
            // The app names the socket. It is used only if the process itself listens on it.
            let is_own = stream.peer_cred().is_ok_and(|peer| peer.pid() == Some(*pid));
            if !is_own {
                return Err("reported a socket of another process".into());
            }
            request(stream, port, path).await
        }
    }
}

async fn request(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, port: u16, path: &str) -> Result<String, String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| format!("cannot communicate: {error}"))?;
    let driver = tokio::spawn(async move { drop(connection.await) });
    let answer = async {
        let request = Request::builder()
            .uri(path)
            .header(HOST, format!("localhost:{port}"))
            .header(USER_AGENT, "ostler")
            .header(ACCEPT, KINDS)
            .header(CONNECTION, "close");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| format!("cannot request {path}: {error}"))?;
        let response = sender.send_request(request).await.map_err(|error| format!("did not answer: {error}"))?;
        if response.status() != hyper::StatusCode::OK {
            return Err(format!("answered {} to GET {path}", response.status().as_u16()));
        }
        let mut body = response.into_body();
        let mut bytes: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("ended its answer too early: {error}"))?;
            let data = frame.data_ref().map_or(&[][..], |data| &data[..]);
            if bytes.len() + data.len() > MOST_BYTES {
                return Err(format!("has a page of more than {} MiB", MOST_BYTES >> 20));
            }
            bytes.extend_from_slice(data);
        }
        String::from_utf8(bytes).map_err(|_| "has a page that is not text".to_owned())
    };
    let answer = answer.await;
    driver.abort();
    answer
}
