//! One attempt to ask: connect, send, read the first line. Every step returns at once.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use ostler_core::probe::{Question, Status, StatusLine};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, getpeername, getsockname, recv, send, socket_with, sockopt,
};

use crate::reactor::{Reactor, Source};

/// A connection and how far it got.
#[derive(Debug)]
pub(super) struct Attempt {
    socket: OwnedFd,
    phase: Phase,
    /// Addresses that were not tried yet.
    left: Vec<IpAddr>,
    /// What it waits for: none = it is not watched yet; else whether room to write is of interest, too.
    watched: Option<bool>,
    /// Our own end, once there is a connection.
    local: Option<SocketAddr>,
}

#[derive(Debug)]
enum Phase {
    Connecting,
    Sending { sent: usize },
    Reading(StatusLine),
}

/// How an attempt stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on when the socket is ready.
    Waiting,
    /// The answer is good.
    Good,
    /// It is not, or there is none: why, in words that follow "answers".
    Bad(String),
}

impl Attempt {
    /// Begins with the first address that can be had. [`Attempt::advance`] is next: on this machine a connection is there at once.
    pub(super) fn begin(question: &Question, mut left: Vec<IpAddr>) -> Result<Self, String> {
        let mut trouble = Errno::ADDRNOTAVAIL;
        left.reverse();
        while let Some(address) = left.pop() {
            match open(address, question.port) {
                Ok(socket) => return Ok(Self { socket, phase: Phase::Connecting, left, watched: None, local: None }),
                Err(errno) => trouble = errno,
            }
        }
        Err(words(trouble))
    }

    /// Our own end of the connection, if there is one.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Goes as far as it can without waiting.
    pub(super) fn advance(&mut self, question: &Question, reactor: &Reactor, source: Source) -> Progress {
        loop {
            let step = match &mut self.phase {
                Phase::Connecting => self.connected(question),
                Phase::Sending { sent } => Self::sent(&self.socket, sent, question),
                Phase::Reading(line) => match read(&self.socket, line, question) {
                    Progress::Waiting => Ok(None),
                    done => Err(done),
                },
            };
            match step {
                Ok(Some(phase)) => self.phase = phase,
                Ok(None) => return self.wait(reactor, source),
                Err(progress) => match progress {
                    // The next address of a name with several.
                    Progress::Bad(trouble) if matches!(self.phase, Phase::Connecting) && !self.left.is_empty() => {
                        let mut left = std::mem::take(&mut self.left);
                        left.reverse();
                        match Self::begin(question, left) {
                            Ok(next) => *self = next,
                            Err(_) => return Progress::Bad(trouble),
                        }
                    }
                    other => return other,
                },
            }
        }
    }

    /// Has the socket watched for what is missing.
    fn wait(&mut self, reactor: &Reactor, source: Source) -> Progress {
        // Once everything is sent only what it says is of interest.
        let write = !matches!(self.phase, Phase::Reading(_));
        let watched = match self.watched {
            Some(same) if same == write => Ok(()),
            Some(_) => reactor.want_write(&self.socket, source, write),
            None if write => reactor.add_for_write(&self.socket, source),
            None => reactor.add(&self.socket, source),
        };
        match watched {
            Ok(()) => {
                self.watched = Some(write);
                Progress::Waiting
            }
            Err(error) => Progress::Bad(error.to_string()),
        }
    }

    fn connected(&mut self, question: &Question) -> Result<Option<Phase>, Progress> {
        let bad = |errno| Err(Progress::Bad(words(errno)));
        match sockopt::socket_error(&self.socket) {
            Ok(Ok(())) => {}
            Ok(Err(errno)) | Err(errno) => return bad(errno),
        }
        let peer = match getpeername(&self.socket) {
            Ok(Some(peer)) => peer,
            Ok(None) | Err(Errno::NOTCONN) => return Ok(None),
            Err(errno) => return bad(errno),
        };
        // With nobody there and a port that the kernel may also choose for our own end, TCP connects us to ourselves.
        let local = getsockname(&self.socket);
        if local.as_ref() == Ok(&peer) {
            return bad(Errno::CONNREFUSED);
        }
        self.local = local.ok().and_then(|local| SocketAddr::try_from(local).ok());
        if question.http.is_none() { Err(Progress::Good) } else { Ok(Some(Phase::Sending { sent: 0 })) }
    }

    fn sent(socket: &OwnedFd, sent: &mut usize, question: &Question) -> Result<Option<Phase>, Progress> {
        let request = question.http.as_ref().map(|http| http.request.as_slice()).unwrap_or_default();
        while let Some(rest) = request.get(*sent..).filter(|rest| !rest.is_empty()) {
            match send(socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => *sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(Progress::Bad(words(errno))),
            }
        }
        Ok(Some(Phase::Reading(StatusLine::default())))
    }
}

fn open(address: IpAddr, port: u16) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&socket, &SocketAddr::new(address, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

fn read(socket: &OwnedFd, line: &mut StatusLine, question: &Question) -> Progress {
    let mut buffer = [0; 512];
    let bad = |text: &str| Progress::Bad(text.to_owned());
    loop {
        let status = match recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return bad("nothing"),
            Ok((_, count)) => line.take(buffer.get(..count).unwrap_or_default()),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => return Progress::Waiting,
            Err(errno) => return Progress::Bad(words(errno)),
        };
        let accepts = |code| question.http.as_ref().is_none_or(|http| http.accepts(code));
        match status {
            Status::Unfinished => {}
            Status::Code(code) if accepts(code) => return Progress::Good,
            Status::Code(code) => return Progress::Bad(code.to_string()),
            Status::Nonsense => return bad("what is no HTTP"),
        }
    }
}

/// `Connection refused`, as people know it.
fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use ostler_core::probe::addresses;
    use ostler_core::serving::{HttpProbe, ReadyBy};

    const SOURCE: Source = Source::Probe(1);

    fn http(port: u16) -> Question {
        let expect = vec![(200, 299)];
        let probe = HttpProbe {
            host: "localhost".into(),
            port,
            path: "/".into(),
            expect,
            interval_ms: 10,
            timeout_ms: 1000,
            method: None,
            headers: Vec::new(),
        };
        Question::http(&probe, 0)
    }

    fn tcp(port: u16) -> Question {
        Question::of(&ReadyBy::Tcp { host: "127.0.0.1".into(), port }, 0).unwrap()
    }

    fn ask(question: &Question) -> Progress {
        let mut reactor = Reactor::new().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        let mut attempt = match Attempt::begin(question, addresses(&question.host).unwrap()) {
            Ok(attempt) => attempt,
            Err(trouble) => return Progress::Bad(trouble),
        };
        while Instant::now() < until {
            match attempt.advance(question, &reactor, SOURCE) {
                Progress::Waiting => drop(reactor.wait(Some(Duration::from_millis(100)))),
                done => return done,
            }
        }
        Progress::Waiting
    }

    /// A server that answers one connection with these pieces.
    fn server(pieces: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            drop(stream.read(&mut request));
            for piece in pieces {
                drop(stream.write_all(piece.as_bytes()));
                std::thread::yield_now();
            }
        });
        port
    }

    #[test]
    fn answers_are_judged() {
        let bad = |text: &str| Progress::Bad(text.into());
        let endless: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
        let endless: &'static [&'static str] = Box::leak(vec![endless].into_boxed_slice());
        for (pieces, expected) in [
            (&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"][..], Progress::Good),
            (&["HT", "TP/1.1 2", "04\r\n"], Progress::Good),
            (&["HTTP/1.1 503 No\r\n\r\n"], bad("503")),
            (&["HTTP/1.1"], bad("nothing")),
            (&[], bad("nothing")),
            (&["220 smtp ready\r\n"], bad("what is no HTTP")),
            (endless, bad("what is no HTTP")),
        ] {
            let answer = ask(&http(server(pieces)));
            // A server that closes with our request unread resets the connection instead of ending it.
            assert!(answer == expected || answer == bad("Connection reset by peer"), "{pieces:?}: {answer:?}");
        }
    }

    #[test]
    fn a_connection_is_enough_where_nothing_is_asked() {
        assert_eq!(ask(&tcp(server(&[]))), Progress::Good);
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(ask(&tcp(free)), Progress::Bad("Connection refused".into()));
        assert_eq!(ask(&http(free)), Progress::Bad("Connection refused".into()));
    }

    #[test]
    fn localhost_is_either_family() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        let question = Question::of(&ReadyBy::Tcp { host: "localhost".into(), port }, 0).unwrap();
        assert_eq!(ask(&question), Progress::Good);
    }
}
