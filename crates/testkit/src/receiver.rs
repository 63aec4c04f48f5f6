//! Receivers of alerts: the checks of each service, and its possible failures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// Behaviour of a receiver.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Accepts everything.
    Accepts,
    /// Answers with this status, these headers and this body.
    Answers(u16, String, String),
    /// Accepts everything but closes the connection before the answer, so that the sender cannot
    /// know the outcome.
    BreaksOff,
    /// Reads, but never answers.
    Hangs,
    /// Webhook that checks signatures with this key, and answers 401 if the signature is wrong.
    Webhook(String),
    /// `DingTalk`: checks the signature and limits the messages a minute. It reports rejections in
    /// the body of a 200.
    DingTalk(String, usize),
    /// Feishu: checks the signature.
    Feishu(String),
    /// `WeCom`: accepts at most 4,096 bytes.
    WeCom,
    /// SMTP server without TLS.
    Mail,
}

/// A received request.
#[derive(Clone, Debug)]
pub struct Received {
    /// Path and query.
    pub path: String,
    /// The unparsed head.
    pub head: String,
    /// The body.
    pub body: String,
    /// Time at which it was complete.
    pub at: Instant,
    /// Whether it was accepted.
    pub accepted: bool,
}

impl Received {
    /// Returns the body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

/// Receiver on a loopback port, until the test ends.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Receiver {
    /// Starts a receiver with this behaviour.
    pub fn new(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (received, behaviour) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(behaviour)));
        let (into, how) = (Arc::clone(&received), Arc::clone(&behaviour));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (into, how) = (Arc::clone(&into), Arc::clone(&how));
                // A client that breaks the connection is not a failure of the test.
                std::thread::spawn(move || drop(serve(stream, &into, &how)));
            }
        });
        Self { address, received, behaviour }
    }

    /// Returns its URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes its behaviour from now on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Returns all received requests.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Returns the accepted requests.
    pub fn received_requests(&self) -> Vec<Received> {
        self.received().into_iter().filter(|received| received.accepted).collect()
    }
}

fn serve(mut stream: TcpStream, into: &Mutex<Vec<Received>>, how: &Mutex<Behaviour>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let behaviour = how.lock().unwrap().clone();
    if let Behaviour::Mail = behaviour {
        return mail(stream, into);
    }
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let length = head.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0_u64);
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;
    // A client that was killed in the middle has sent no request.
    if !head.ends_with("\r\n\r\n") || body.len() as u64 != length {
        return Ok(());
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = Received { path, head, body, at: Instant::now(), accepted: false };
    let before = into.lock().unwrap().iter().filter(|other| other.at.elapsed() < Duration::from_secs(60)).count();
    let (status, headers, answer) = response_for(&behaviour, &request, before);
    request.accepted = status == 200 && (answer.is_empty() || answer == "ok" || answer.contains(":0}"));
    into.lock().unwrap().push(request);
    if matches!(behaviour, Behaviour::Hangs) {
        // Wait until the client gives up.
        let _ = stream.read(&mut [0]);
        return Ok(());
    }
    if matches!(behaviour, Behaviour::BreaksOff) {
        return Ok(());
    }
    write!(stream, "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{answer}", answer.len())
}

/// Returns status, headers and body of the answer.
fn response_for(behaviour: &Behaviour, request: &Received, before: usize) -> (u16, String, String) {
    let answer = |status: u16, body: &str| (status, String::new(), body.to_owned());
    match behaviour {
        Behaviour::Accepts | Behaviour::BreaksOff | Behaviour::Hangs | Behaviour::Mail => answer(200, "ok"),
        Behaviour::Answers(status, headers, body) => (*status, headers.clone(), body.clone()),
        Behaviour::Webhook(key) => {
            let time = request.header("x-ostler-timestamp").unwrap_or_default();
            let hex: String = hmac(key, &format!("{time}.{}", request.body)).iter().map(|byte| format!("{byte:02x}")).collect();
            let is_good = request.header("x-ostler-signature") == Some(format!("sha256={hex}").as_str());
            if is_good { answer(200, "ok") } else { answer(401, "wrong signature") }
        }
        Behaviour::DingTalk(key, most) => {
            let query = |name: &str| {
                let found = request.path.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                found.unwrap_or_default().to_owned()
            };
            let time = query("timestamp");
            let signed = Base64::encode_string(&hmac(key, &format!("{time}\n{key}")));
            let given = query("sign").replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
            match (given == signed, before < *most) {
                (true, true) => answer(200, r#"{"errcode":0}"#),
                (false, _) => answer(200, r#"{"errcode":310000,"errmsg":"sign not match"}"#),
                (_, false) => answer(200, r#"{"errcode":130101,"errmsg":"send too fast"}"#),
            }
        }
        Behaviour::Feishu(key) => {
            let value: Value = serde_json::from_str(&request.body).unwrap_or_default();
            let time = value["timestamp"].as_str().unwrap_or_default();
            let is_good = value["sign"] == Base64::encode_string(&hmac(&format!("{time}\n{key}"), ""));
            if is_good { answer(200, r#"{"code":0}"#) } else { answer(200, r#"{"code":19021,"msg":"sign match fail, err"}"#) }
        }
        Behaviour::WeCom => {
            let value: Value = serde_json::from_str(&request.body).unwrap_or_default();
            let is_good = value["markdown"]["content"].as_str().is_some_and(|text| text.len() <= 4096);
            if is_good { answer(200, r#"{"errcode":0}"#) } else { answer(200, r#"{"errcode":40058,"errmsg":"too long"}"#) }
        }
    }
}

fn hmac(key: &str, text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Receives one mail: sender and recipients become the head, its text becomes the body.
fn mail(stream: TcpStream, into: &Mutex<Vec<Received>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    stream.write_all(b"220 here\r\n")?;
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        head.push_str(&line);
        match line.get(..4).unwrap_or_default() {
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let mut body = String::new();
                while !body.ends_with("\r\n.\r\n") {
                    if reader.read_line(&mut body)? == 0 {
                        return Ok(());
                    }
                }
                into.lock().unwrap().push(Received { path: String::new(), head: head.clone(), body, at: Instant::now(), accepted: true });
                stream.write_all(b"250 taken\r\n")?;
            }
            "QUIT" => return stream.write_all(b"221 bye\r\n"),
            "EHLO" => stream.write_all(b"250-here\r\n250 8BITMIME\r\n")?,
            _ => stream.write_all(b"250 ok\r\n")?,
        }
    }
}
