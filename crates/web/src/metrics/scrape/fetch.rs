//! Reading of one instance's page: from this machine, without redirects, with limits on time and
//! size.

use std::io;
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

/// Reason why an instance has no page. The texts follow its name.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("did not answer within {} s", WITHIN.as_secs())]
    TimedOut,
    #[error("cannot connect to port {port}: {cause}")]
    Connect { port: u16, cause: io::Error },
    #[error("cannot connect to its preload: {0}")]
    ConnectPreload(io::Error),
    #[error("reported a socket of another process")]
    ForeignSocket,
    #[error("{0}")]
    Lost(tokio::task::JoinError),
    #[error("cannot communicate: {0}")]
    Handshake(hyper::Error),
    #[error("cannot request {path}: {cause}")]
    Request { path: String, cause: hyper::http::Error },
    #[error("did not answer: {0}")]
    NoAnswer(hyper::Error),
    #[error("answered {status} to GET {path}")]
    Status { status: u16, path: String },
    #[error("ended its answer too early: {0}")]
    CutOff(hyper::Error),
    #[error("has a page of more than {} MiB", MOST_BYTES >> 20)]
    TooLarge,
    #[error("has a page that is not text")]
    NotText,
}

/// Returns the text of a page.
pub(super) async fn fetch(address: &Address, port: u16, path: &str) -> Result<String, FetchError> {
    tokio::time::timeout(WITHIN, read(address, port, path)).await.unwrap_or(Err(FetchError::TimedOut))
}

async fn read(address: &Address, port: u16, path: &str) -> Result<String, FetchError> {
    match address {
        Address::Port(port) => {
            let four = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).await;
            let stream = match four {
                Ok(stream) => stream,
                Err(cause) => {
                    let six = TcpStream::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, *port))).await;
                    six.map_err(|_| FetchError::Connect { port: *port, cause })?
                }
            };
            request(stream, *port, path).await
        }
        Address::Instance { path: socket, pid, rights } => {
            let (socket, rights) = (socket.clone(), rights.clone());
            let connected = tokio::task::spawn_blocking(move || rights.connect(&socket)).await.map_err(FetchError::Lost)?;
            let stream = connected.and_then(UnixStream::from_std).map_err(FetchError::ConnectPreload)?;
            // The app names the socket. It is used only if the process itself listens on it.
            let is_own = stream.peer_cred().is_ok_and(|peer| peer.pid() == Some(*pid));
            if !is_own {
                return Err(FetchError::ForeignSocket);
            }
            request(stream, port, path).await
        }
    }
}

async fn request(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, port: u16, path: &str) -> Result<String, FetchError> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(FetchError::Handshake)?;
    let driver = tokio::spawn(async move { drop(connection.await) });
    let answer = async {
        let request = Request::builder()
            .uri(path)
            .header(HOST, format!("localhost:{port}"))
            .header(USER_AGENT, "ostler")
            .header(ACCEPT, KINDS)
            .header(CONNECTION, "close");
        let request = request.body(Empty::<Bytes>::new()).map_err(|cause| FetchError::Request { path: path.to_owned(), cause })?;
        let response = sender.send_request(request).await.map_err(FetchError::NoAnswer)?;
        if response.status() != hyper::StatusCode::OK {
            return Err(FetchError::Status { status: response.status().as_u16(), path: path.to_owned() });
        }
        let mut body = response.into_body();
        let mut bytes: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(FetchError::CutOff)?;
            let data = frame.data_ref().map_or(&[][..], |data| &data[..]);
            if bytes.len() + data.len() > MOST_BYTES {
                return Err(FetchError::TooLarge);
            }
            bytes.extend_from_slice(data);
        }
        String::from_utf8(bytes).map_err(|_| FetchError::NotText)
    };
    let answer = answer.await;
    driver.abort();
    answer
}
