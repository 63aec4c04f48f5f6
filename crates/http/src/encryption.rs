//! Encrypted connections: what has to be agreed on with a client before it is answered. How that is done is the caller's.

use std::io;
use std::pin::Pin;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection that is read and written in clear text here.
pub trait Clear: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Clear for T {}

/// A connection that is being agreed on.
pub type Agreeing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Clear>>>>>;

/// Encryption of what comes by TCP to the first socket.
pub type Encryption = Rc<dyn Fn(TcpStream) -> Agreeing>;
