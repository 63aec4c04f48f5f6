//! Conversion of a message into a request to a service (address, headers and body), and evaluation
//! of the response.

mod bodies;
mod mail;
mod reply;
mod sign;
#[cfg(test)]
mod tests;

pub use mail::letter;
pub use reply::{DeliveryResult, HttpReply, delivery_result};

use serde_json::{Value, json};

use crate::channel::{Mail, Service, Url};
use crate::message::Message;

/// Outgoing request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A `POST`.
    Post(Post),
    /// Run a program with this standard input.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// Its standard input.
        stdin: String,
    },
    /// A mail.
    Mail {
        /// Settings of the mail server.
        mail: Box<MailOf>,
        /// Head and body, lines ending in CR LF.
        text: String,
    },
}

/// Mail settings whose debug output hides secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct MailOf(pub Mail);

impl std::fmt::Debug for MailOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.host, self.0.port)
    }
}

/// HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The address.
    pub url: Url,
    /// Headers in addition to those of every request.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// Converts a message for a service. `now_ms` is for signatures, which are valid for a limited
/// time.
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
            json_post(api.join_path(&format!("/bot{}/sendMessage", sign::percent(token))), &bodies::telegram(message, chat))
        }
        Service::Ntfy { server, topic, token } => {
            let mut post = json_post(server.clone(), &bodies::ntfy(message, topic));
            post.headers.extend(token.as_ref().map(|token| ("authorization", format!("Bearer {token}"))));
            post
        }
        Service::Alertmanager { url } => json_post(url.join_path("/api/v2/alerts"), &bodies::alertmanager(message)),
        Service::DingTalk { url, secret } => {
            let url = match secret {
                Some(secret) => url.with_query(&format!("timestamp={now_ms}&sign={}", sign::percent(&sign::dingtalk(secret, now_ms)))),
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
            return Outgoing::Mail { mail: Box::new(MailOf(mail.clone())), text: letter(mail, message) };
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
