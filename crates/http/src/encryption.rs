//! Encrypted connections: the handshake before the first request. The caller implements the
//! encryption.

use std::io;
use std::pin::Pin;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Connection that is decrypted here.
pub trait PlainStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> PlainStream for T {}

/// Connection during its handshake.
pub type Handshake = Pin<Box<dyn Future<Output = io::Result<Box<dyn PlainStream>>>>>;

/// Encryption of the TCP connections to the first socket.
pub type Encryption = Rc<dyn Fn(TcpStream) -> Handshake>;
