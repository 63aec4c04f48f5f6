//! A message as what is sent to a service: address, headers and body; and what the answer means.

mod bodies;
mod mail;
mod reply;
mod sign;
#[cfg(test)]
mod tests;

pub use mail::letter;
pub use reply::{Answer, Verdict, judge};

use serde_json::{Value, json};

use crate::channel::{Mail, Service, Url};
use crate::message::Message;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A `POST`.
    Post(Post),
    /// A program with this on its standard input.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// Its standard input.
        stdin: String,
    },
    /// A letter.
    Letter {
        /// The way.
        mail: Box<MailOf>,
        /// Head and body, lines ending in CR LF.
        text: String,
    },
}

/// A way of mail that can be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct MailOf(pub Mail);

impl std::fmt::Debug for MailOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.host, self.0.port)
    }
}

/// A request of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The address.
    pub url: Url,
    /// Headers besides those that each request has.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// Renders a message for a service. `now_ms`: for signatures, which are good for a time.
pub fn render(service: &Service, message: &Message, now_ms: u64) -> Outgoing {
    let post = match service {
        Service::Webhook { url, secret, template } => {
            let body = template.as_ref().map_or_else(|| bodies::whole(message).to_string(), |template| bodies::filled(template, message));
            let mut post = posted(url.clone(), body);
            post.headers.push(("x-ostler-id", message.id.clone()));
            post.headers.push(("x-ostler-timestamp", (now_ms / 1000).to_string()));
            if let Some(secret) = secret {
                post.headers.push(("x-ostler-signature", sign::webhook(secret, now_ms / 1000, &post.body)));
            }
            post
        }
        Service::Slack { url } => json_post(url.clone(), &bodies::slack(message)),
        Service::Discord { url } => json_post(url.clone(), &bodies::discord(message)),
        Service::Telegram { api, token, chat } => {
            json_post(api.below(&format!("/bot{}/sendMessage", sign::percent(token))), &bodies::telegram(message, chat))
        }
        Service::Ntfy { server, topic, token } => {
            let mut post = json_post(server.clone(), &bodies::ntfy(message, topic));
            post.headers.extend(token.as_ref().map(|token| ("authorization", format!("Bearer {token}"))));
            post
        }
        Service::Alertmanager { url } => json_post(url.below("/api/v2/alerts"), &bodies::alertmanager(message)),
        Service::DingTalk { url, secret } => {
            let url = match secret {
                Some(secret) => url.with(&format!("timestamp={now_ms}&sign={}", sign::percent(&sign::dingtalk(secret, now_ms)))),
                None => url.clone(),
            };
            json_post(url, &bodies::dingtalk(message))
        }
        Service::Feishu { url, secret } => {
            let mut body = bodies::feishu(message);
            if let Some(secret) = secret {
                let seconds = now_ms / 1000;
                body["timestamp"] = json!(seconds.to_string());
                body["sign"] = json!(sign::feishu(secret, seconds));
            }
            json_post(url.clone(), &body)
        }
        Service::WeCom { url } => json_post(url.clone(), &bodies::wecom(message)),
        Service::Command { argv } => {
            return Outgoing::Run { argv: argv.clone(), stdin: format!("{}\n", bodies::whole(message)) };
        }
        Service::Email(mail) => {
            return Outgoing::Letter { mail: Box::new(MailOf(mail.clone())), text: letter(mail, message) };
        }
    };
    Outgoing::Post(post)
}

fn json_post(url: Url, body: &Value) -> Post {
    posted(url, body.to_string())
}

fn posted(url: Url, body: String) -> Post {
    let mut headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
    headers.extend(url.user.as_ref().map(|user| ("authorization", format!("Basic {}", sign::base64(user.as_bytes())))));
    Post { url, headers, body }
}
