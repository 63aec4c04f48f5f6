//! Access: permissions to view and to act. `<home>/web/access.json` has the password as an argon2id
//! hash and everything else as SHA-256 of 256 random bits. A person who reads the file cannot log
//! in with it.

mod attempts;
pub(crate) mod audit;
mod secret;
mod store;

use ostler_core::message;
use serde::{Deserialize, Serialize};

pub(crate) use attempts::Attempts;
pub(crate) use secret::random;
pub use secret::{PasswordError, Secret, password_fits, password_hash};
pub use store::Store;

/// Validity of a login link, in ms.
pub const LINK_MS: u64 = 5 * 60 * 1000;
/// Duration of a login, in ms.
pub const SESSION_MS: u64 = 30 * 24 * 3600 * 1000;
/// Maximum number of simultaneous logins, in total and per user; the oldest is removed.
const MOST_SESSIONS: usize = 1024;
const MOST_SESSIONS_OF_USER: usize = 64;
/// Maximum number of unused links.
const MOST_LINKS: usize = 16;
/// Maximum number of tokens.
const MOST_TOKENS: usize = 256;

/// Roles. Each includes the rights of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Permission to view.
    Viewer,
    /// Permission to start, stop, restart, reload and scale.
    Operator,
    /// Permission to delete apps, flush logs and grant access.
    Admin,
}

impl Role {
    /// Parses a role.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "viewer" => Self::Viewer,
            "operator" => Self::Operator,
            "admin" => Self::Admin,
            _ => return None,
        })
    }

    /// Returns the word for the role.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Known client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Name for the audit log: that of the token, or the login method.
    pub(crate) user: String,
    pub(crate) role: Role,
    /// Visible namespaces; empty = all.
    pub(crate) namespaces: Vec<String>,
    /// Key for limits on requests: the token, or this single login.
    pub(crate) share: String,
}

impl Identity {
    pub(crate) fn sees(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|seen| seen == namespace)
    }

    pub(crate) fn sees_all(&self) -> bool {
        self.namespaces.is_empty()
    }
}

/// All passwords, tokens, links and logins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// The admin's password as an argon2 hash; none = no password is set, and only links work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// API tokens.
    pub tokens: Vec<Token>,
    links: Vec<LoginLink>,
    sessions: Vec<Session>,
}

/// API token, sent as `Authorization: Bearer …`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its name, for lists.
    pub name: String,
    /// Its rights.
    pub role: Role,
    /// Visible namespaces; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    hash: String,
    /// Creation time, wall clock, ms.
    pub created_ms: u64,
}

/// Single-use link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LoginLink {
    hash: String,
    role: Role,
    until_ms: u64,
}

/// Login of a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    hash: String,
    user: String,
    role: Role,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<String>,
    until_ms: u64,
}

/// Reason for not creating a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The name is taken.
    #[error("{}", message!("a token with that name exists already; --revoke removes it"))]
    Exists,
    /// The name is empty, too long, or contains forbidden characters.
    #[error("{}", message!("the name of a token has 1 to 64 letters, digits, - _ . or @"))]
    Name,
    /// The maximum number is reached.
    #[error("{}", message!("there are 256 tokens already; --revoke removes one"))]
    TooMany,
}

impl Access {
    /// Creates a token. It is shown once and stored only as a hash.
    ///
    /// # Errors
    /// Returns a [`TokenError`] if the name is invalid or taken, or if there are too many tokens.
    pub fn add_token(&mut self, name: &str, role: Role, namespaces: Vec<String>, now_ms: u64) -> Result<Secret, TokenError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            return Err(TokenError::Name);
        }
        if self.tokens.iter().any(|token| token.name == name) {
            return Err(TokenError::Exists);
        }
        if self.tokens.len() >= MOST_TOKENS {
            return Err(TokenError::TooMany);
        }
        let secret = Secret::new();
        self.tokens.push(Token { name: name.into(), role, namespaces, hash: secret.hash(), created_ms: now_ms });
        Ok(secret)
    }

    /// Removes a token and the logins that were made with it. Returns false if there is no token of
    /// that name.
    pub fn revoke(&mut self, name: &str) -> bool {
        let before = self.tokens.len();
        self.tokens.retain(|token| token.name != name);
        let user = token_user(name);
        self.sessions.retain(|session| session.user != user);
        self.tokens.len() != before
    }

    /// Creates a single-use link that is valid for [`LINK_MS`].
    pub fn add_link(&mut self, role: Role, now_ms: u64) -> Secret {
        self.links.retain(|link| link.until_ms > now_ms);
        while self.links.len() >= MOST_LINKS {
            self.links.remove(0);
        }
        let secret = Secret::new();
        self.links.push(LoginLink { hash: secret.hash(), role, until_ms: now_ms.saturating_add(LINK_MS) });
        secret
    }

    /// Sets or removes the password, and ends all logins.
    pub fn set_password(&mut self, hash: Option<String>) {
        self.password = hash;
        self.sessions.clear();
    }

    /// Uses up a link and returns the identity that it grants.
    pub(crate) fn take_link(&mut self, text: &str, now_ms: u64) -> Option<Identity> {
        let hash = secret::hash_of(text);
        let at = self.links.iter().position(|link| link.hash == hash)?;
        let link = self.links.remove(at);
        (link.until_ms > now_ms).then(|| Identity { user: "link".into(), role: link.role, namespaces: Vec::new(), share: link.hash })
    }

    /// Returns the identity of a token.
    pub(crate) fn by_token(&self, text: &str) -> Option<Identity> {
        let hash = secret::hash_of(text);
        let token = self.tokens.iter().find(|token| token.hash == hash)?;
        let user = token_user(&token.name);
        Some(Identity { share: user.clone(), user, role: token.role, namespaces: token.namespaces.clone() })
    }

    /// Creates a login and returns the secret for the cookie.
    pub(crate) fn add_session(&mut self, identity: &Identity, now_ms: u64) -> Secret {
        self.sessions.retain(|session| session.until_ms > now_ms);
        // The logins of one user do not displace those of another.
        while self.sessions.iter().filter(|session| session.user == identity.user).count() >= MOST_SESSIONS_OF_USER {
            let oldest = self.sessions.iter().position(|session| session.user == identity.user);
            oldest.map(|at| self.sessions.remove(at));
        }
        while self.sessions.len() >= MOST_SESSIONS {
            self.sessions.remove(0);
        }
        let secret = Secret::new();
        self.sessions.push(Session {
            hash: secret.hash(),
            user: identity.user.clone(),
            role: identity.role,
            namespaces: identity.namespaces.clone(),
            until_ms: now_ms.saturating_add(SESSION_MS),
        });
        secret
    }

    /// Returns the identity of a cookie.
    pub(crate) fn by_session(&self, text: &str, now_ms: u64) -> Option<Identity> {
        let hash = secret::hash_of(text);
        let session = self.sessions.iter().find(|session| session.hash == hash && session.until_ms > now_ms)?;
        // All logins by link or password have the same user name, so each counts by itself.
        let share = if session.user.starts_with(TOKEN) { &session.user } else { &session.hash };
        Some(Identity { user: session.user.clone(), role: session.role, namespaces: session.namespaces.clone(), share: share.clone() })
    }

    /// Ends the login of this cookie.
    pub(crate) fn end_session(&mut self, text: &str) {
        let hash = secret::hash_of(text);
        self.sessions.retain(|session| session.hash != hash);
    }
}

/// Prefix of a token's user name.
const TOKEN: &str = "token ";

fn token_user(name: &str) -> String {
    format!("{TOKEN}{name}")
}

#[cfg(test)]
mod tests;
