//! SMTP (RFC 5321), as much as one mail needs: `EHLO`, `STARTTLS`, `AUTH`, `MAIL`, `RCPT`, `DATA`.

use base64ct::{Base64, Encoding as _};
use ostler_alerts::channel::{Mail, MailTls};
use ostler_alerts::render::DeliveryResult;
use ostler_alerts::text::plain;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::http::client_tls::{self as tls, ConnectError, Io};

/// Maximum length of a line, and maximum number of lines in a reply.
const LONGEST: u64 = 4096;
const MOST_LINES: usize = 100;

/// Reason why a mail was not sent.
enum SmtpFailure {
    /// The connection failed; a retry may succeed.
    Broken(String),
    /// The server refused it.
    Said(Reply),
}

impl From<ConnectError> for SmtpFailure {
    fn from(error: ConnectError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Reply of the server.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn has(&self, word: &str) -> bool {
        self.lines.iter().any(|line| line.to_ascii_uppercase().split(' ').next() == Some(word))
    }

    fn methods(&self) -> impl Iterator<Item = String> + '_ {
        let line = self.lines.iter().map(|line| line.to_ascii_uppercase()).find(|line| line.starts_with("AUTH "));
        line.unwrap_or_default().split(' ').skip(1).map(str::to_owned).collect::<Vec<_>>().into_iter()
    }
}

/// Delivers a mail to the server.
pub(super) async fn deliver(mail: &Mail, text: &str) -> DeliveryResult {
    match deliver_all(mail, text).await {
        Ok(()) => DeliveryResult::Delivered,
        Err(SmtpFailure::Broken(why)) => DeliveryResult::Later { after_ms: None, why },
        Err(SmtpFailure::Said(reply)) => {
            let why = format!("{} answered {} {}", mail.host, reply.code, plain(&reply.lines.join(" "), 200));
            if (400..500).contains(&reply.code) { DeliveryResult::Later { after_ms: None, why } } else { DeliveryResult::Refused(why) }
        }
    }
}

async fn deliver_all(mail: &Mail, text: &str) -> Result<(), SmtpFailure> {
    let mut stream = tls::connect(&mail.host, mail.port).await?;
    if mail.tls == MailTls::Implicit {
        stream = tls::encrypt(&mail.host, stream).await?.0;
    }
    let mut talk = SmtpSession(BufReader::new(stream));
    talk.expect_code(220).await?;
    let hello = format!("EHLO {}", super::host_name());
    let mut offers = talk.command(&hello, 250).await?;
    if mail.tls == MailTls::StartTls {
        if !offers.has("STARTTLS") {
            return Err(SmtpFailure::Broken(format!("{} does not offer STARTTLS, so nothing is sent", mail.host)));
        }
        talk.command("STARTTLS", 220).await?;
        // Data that the server sent before the encryption started is not trusted.
        if !talk.0.buffer().is_empty() {
            return Err(SmtpFailure::Broken(format!("{} sends too much before TLS", mail.host)));
        }
        let stream = tls::encrypt(&mail.host, talk.0.into_inner()).await?.0;
        talk = SmtpSession(BufReader::new(stream));
        offers = talk.command(&hello, 250).await?;
    }
    if let Some((user, password)) = &mail.login {
        talk.log_in(&offers, user, password).await?;
    }
    talk.command(&format!("MAIL FROM:<{}>", mail.from), 250).await?;
    // An unknown recipient does not prevent delivery to the others.
    let mut refused = None;
    let mut taken = 0;
    for to in &mail.to {
        match talk.command(&format!("RCPT TO:<{to}>"), 250).await {
            Ok(_) => taken += 1,
            Err(SmtpFailure::Said(reply)) => {
                let (host, code, said) = (&mail.host, reply.code, plain(&reply.lines.join(" "), 200));
                let line = format!("alerts: {host} rejects mail to {}: {code} {said}\n", plain(to, 100));
                let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
                refused = Some(reply);
            }
            Err(broken) => return Err(broken),
        }
    }
    if let (0, Some(reply)) = (taken, refused) {
        return Err(SmtpFailure::Said(reply));
    }
    talk.command("DATA", 354).await?;
    talk.send_line(&format!("{}.", dot_stuffed(text))).await?;
    talk.expect_code(250).await?;
    // The mail is delivered, whatever the server replies now.
    let _ = talk.send_line("QUIT").await;
    Ok(())
}

/// Doubles a full stop at the start of a line, and ends the last line.
fn dot_stuffed(text: &str) -> String {
    let mut out = String::new();
    for line in text.trim_end_matches("\r\n").split("\r\n") {
        if line.starts_with('.') {
            out.push('.');
        }
        out.push_str(line);
        out.push_str("\r\n");
    }
    out
}

/// SMTP conversation.
struct SmtpSession(BufReader<Box<dyn Io>>);

impl SmtpSession {
    async fn send_line(&mut self, line: &str) -> Result<(), SmtpFailure> {
        let failed = |error: std::io::Error| SmtpFailure::Broken(format!("the connection to the mail server was lost: {error}"));
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.map_err(failed)?;
        self.0.get_mut().flush().await.map_err(failed)
    }

    async fn command(&mut self, line: &str, expected: u16) -> Result<Reply, SmtpFailure> {
        self.send_line(line).await?;
        self.expect_code(expected).await
    }

    async fn expect_code(&mut self, code: u16) -> Result<Reply, SmtpFailure> {
        let reply = self.reply().await?;
        // 251: the mail will be forwarded.
        if reply.code == code || (code == 250 && reply.code == 251) { Ok(reply) } else { Err(SmtpFailure::Said(reply)) }
    }

    async fn reply(&mut self) -> Result<Reply, SmtpFailure> {
        let broken = |why: &str| SmtpFailure::Broken(format!("the mail server {why}"));
        let mut lines = Vec::new();
        while lines.len() < MOST_LINES {
            let mut bytes = Vec::new();
            let read = (&mut self.0).take(LONGEST).read_until(b'\n', &mut bytes).await;
            read.map_err(|_| broken("closed the connection"))?;
            let line = String::from_utf8_lossy(&bytes);
            let line = line.strip_suffix('\n').ok_or_else(|| broken("ended its answer too early"))?.trim_end_matches('\r');
            let code = line.get(..3).and_then(|digits| digits.parse().ok()).ok_or_else(|| broken("sent an invalid answer"))?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(broken("reply is too long"))
    }

    async fn log_in(&mut self, offers: &Reply, user: &str, password: &str) -> Result<(), SmtpFailure> {
        let encoded = |text: &str| Base64::encode_string(text.as_bytes());
        if offers.methods().any(|method| method == "PLAIN") {
            self.command(&format!("AUTH PLAIN {}", encoded(&format!("\0{user}\0{password}"))), 235).await?;
        } else {
            self.command("AUTH LOGIN", 334).await?;
            self.command(&encoded(user), 334).await?;
            self.command(&encoded(password), 235).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mail server that accepts mail only for Ann. Returns the lines that it received.
    async fn server(listener: tokio::net::TcpListener) -> Vec<String> {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let (mut lines, mut is_data) = (Vec::new(), false);
        stream.write_all(b"220 mail\r\n").await.unwrap();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                return lines;
            }
            let line = line.trim_end().to_owned();
            let answer = match line.as_str() {
                "DATA" => {
                    is_data = true;
                    "354 go on\r\n"
                }
                "." => {
                    is_data = false;
                    "250 taken\r\n"
                }
                _ if is_data => "",
                _ if line.starts_with("RCPT") && !line.contains("ann@") => "550 no such user\r\n",
                _ => "250 fine\r\n",
            };
            lines.push(line);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    async fn letter(to: &[&str]) -> (DeliveryResult, Vec<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(server(listener));
        let mail = Mail {
            host: "127.0.0.1".into(),
            port,
            tls: MailTls::None,
            login: None,
            from: "ops@box".into(),
            to: to.iter().map(|to| (*to).to_owned()).collect(),
        };
        (deliver(&mail, "Subject: api\r\n\r\nit crashed\r\n").await, server.await.unwrap())
    }

    #[tokio::test]
    async fn unknown_recipient_does_not_block_other_recipients() {
        let (verdict, reports) = letter(&["bob@box", "ann@box"]).await;
        assert_eq!(verdict, DeliveryResult::Delivered);
        assert!(reports.contains(&"it crashed".to_owned()), "{reports:?}");
        let (verdict, reports) = letter(&["bob@box"]).await;
        assert_eq!(verdict, DeliveryResult::Refused("127.0.0.1 answered 550 no such user".into()));
        assert!(!reports.contains(&"DATA".to_owned()), "{reports:?}");
    }

    #[test]
    fn line_with_single_dot_is_stuffed() {
        assert_eq!(dot_stuffed("a\r\n.\r\n..b\r\n"), "a\r\n..\r\n...b\r\n");
    }
}
