//! Access: who may look, who may act. `<home>/web/access.json` has the password as argon2id and everything else as SHA-256 of 256 random bits, so the file
//! opens nothing to whoever reads it.

mod attempts;
pub(crate) mod audit;
mod secret;
mod store;

use serde::{Deserialize, Serialize};

pub(crate) use attempts::Attempts;
pub(crate) use secret::random;
pub use secret::{PasswordError, Secret, password_fits, password_hash};
pub use store::{AccessError, Store};

/// Time for which a link for the first login is good, ms.
pub const LINK_MS: u64 = 5 * 60 * 1000;
/// Time for which a login lasts, ms.
pub const SESSION_MS: u64 = 30 * 24 * 3600 * 1000;
/// Most logins at a time, of all and of one user; the oldest goes.
const MOST_SESSIONS: usize = 1024;
const MOST_SESSIONS_OF_USER: usize = 64;
/// Most links that wait.
const MOST_LINKS: usize = 16;
/// Most tokens.
const MOST_TOKENS: usize = 256;

/// Rights, each with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Starts, stops, restarts, reloads, scales.
    Operator,
    /// Deletes, empties logs, gives access.
    Admin,
}

impl Role {
    /// The role by its word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "viewer" => Self::Viewer,
            "operator" => Self::Operator,
            "admin" => Self::Admin,
            _ => return None,
        })
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Whoever asks, when it is known who that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Name for the audit log: of the token, or of the way in.
    pub(crate) user: String,
    pub(crate) role: Role,
    /// Namespaces that it sees; none = all.
    pub(crate) namespaces: Vec<String>,
    /// Whose share its requests count against: that of the token, or of this one login.
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

/// Everything that opens the door.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// The admin's password, as argon2 writes it; none = there is none, and links are the way in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Tokens of programs.
    pub tokens: Vec<Token>,
    links: Vec<Link>,
    sessions: Vec<Session>,
}

/// Token of a program: sent as `Authorization: Bearer …`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its name, for lists.
    pub name: String,
    /// Its rights.
    pub role: Role,
    /// Namespaces that it sees; none = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    hash: String,
    /// Time at which it was made, wall clock, ms.
    pub created_ms: u64,
}

/// Link that is good once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
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

/// A reason why a token is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its name is taken.
    #[error("there is a token of that name already; --revoke takes it away")]
    Exists,
    /// Its name is empty, too long, or not plain.
    #[error("the name of a token has 1 to 64 letters, digits, - _ . or @")]
    Name,
    /// There are enough.
    #[error("there are 256 tokens already; --revoke takes one away")]
    TooMany,
}

impl Access {
    /// Makes a token; it is shown once and kept nowhere.
    ///
    /// # Errors
    /// [`TokenError`].
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

    /// Takes a token away, with the logins that were made with it. False = there is none of that name.
    pub fn revoke(&mut self, name: &str) -> bool {
        let before = self.tokens.len();
        self.tokens.retain(|token| token.name != name);
        let user = token_user(name);
        self.sessions.retain(|session| session.user != user);
        self.tokens.len() != before
    }

    /// Makes a link that is good once, for [`LINK_MS`].
    pub fn add_link(&mut self, role: Role, now_ms: u64) -> Secret {
        self.links.retain(|link| link.until_ms > now_ms);
        while self.links.len() >= MOST_LINKS {
            self.links.remove(0);
        }
        let secret = Secret::new();
        self.links.push(Link { hash: secret.hash(), role, until_ms: now_ms.saturating_add(LINK_MS) });
        secret
    }

    /// Takes a new password, or none; whoever came in by the former one is out.
    pub fn set_password(&mut self, hash: Option<String>) {
        self.password = hash;
        self.sessions.clear();
    }

    /// Whoever a link lets in. It is good once.
    pub(crate) fn take_link(&mut self, text: &str, now_ms: u64) -> Option<Identity> {
        let hash = secret::hash_of(text);
        let at = self.links.iter().position(|link| link.hash == hash)?;
        let link = self.links.remove(at);
        (link.until_ms > now_ms).then(|| Identity { user: "link".into(), role: link.role, namespaces: Vec::new(), share: link.hash })
    }

    /// Whoever sends this token.
    pub(crate) fn by_token(&self, text: &str) -> Option<Identity> {
        let hash = secret::hash_of(text);
        let token = self.tokens.iter().find(|token| token.hash == hash)?;
        let user = token_user(&token.name);
        Some(Identity { share: user.clone(), user, role: token.role, namespaces: token.namespaces.clone() })
    }

    /// Makes a login; the secret is the cookie's.
    pub(crate) fn add_session(&mut self, identity: &Identity, now_ms: u64) -> Secret {
        self.sessions.retain(|session| session.until_ms > now_ms);
        // One user's logins end none of another's.
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

    /// Whoever sends this cookie.
    pub(crate) fn by_session(&self, text: &str, now_ms: u64) -> Option<Identity> {
        let hash = secret::hash_of(text);
        let session = self.sessions.iter().find(|session| session.hash == hash && session.until_ms > now_ms)?;
        // Logins by links and by the password all have one name.
        let share = if session.user.starts_with(TOKEN) { &session.user } else { &session.hash };
        Some(Identity { user: session.user.clone(), role: session.role, namespaces: session.namespaces.clone(), share: share.clone() })
    }

    /// Ends the login of this cookie.
    pub(crate) fn end_session(&mut self, text: &str) {
        let hash = secret::hash_of(text);
        self.sessions.retain(|session| session.hash != hash);
    }
}

/// Beginning of the user of a token.
const TOKEN: &str = "token ";

fn token_user(name: &str) -> String {
    format!("{TOKEN}{name}")
}

#[cfg(test)]
mod tests;
