//! Input of every route: the parts of the dashboard, and the request.

use std::cell::RefCell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderName};
use hyper::http::request::Parts;
use ostler_http::{Ending, GuestStatus, Guests, Peer};

use crate::access::audit::Audit;
use crate::access::{Attempts, Identity, Store};
use crate::daemon::Daemon;
use crate::errors::Collected;
use crate::hosts::HostsReader;
use crate::http::guard::Guard;
use crate::http::shares::Shares;
use crate::json_file::FileError;
use crate::metrics::scrape::Scraper;
use crate::profiles::Profiles;
use crate::settings::Settings;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// State that all requests share.
pub(crate) struct Site {
    pub(crate) home: PathBuf,
    pub(crate) hosts: HostsReader,
    pub(crate) settings: Settings,
    pub(crate) daemon: Daemon,
    pub(crate) store: RefCell<Store>,
    pub(crate) attempts: RefCell<Attempts>,
    pub(crate) audit: Audit,
    pub(crate) alerts: crate::alerts::SharedState,
    pub(crate) ending: Ending,
    /// Only one password is checked at a time, because each check takes 19 MiB.
    pub(crate) checking: tokio::sync::Semaphore,
    pub(crate) shares: Shares,
    /// Logins whose body has not arrived yet.
    pub(crate) logins: Rc<Guests>,
    pub(crate) errors: Rc<Collected>,
    pub(crate) otlp: Rc<crate::otlp::Otlp>,
    pub(crate) profiles: Rc<Profiles>,
    pub(crate) scraper: Rc<Scraper>,
    pub(crate) guard: Guard,
}

/// Request with the address of its client.
pub(crate) struct ClientRequest {
    pub(crate) head: Parts,
    pub(crate) body: Incoming,
    /// Address of the client; none = it connected by a unix socket.
    pub(crate) from: Option<IpAddr>,
    /// True if other clients may have or claim the same address: loopback, a unix socket, or an
    /// address that a proxy reports.
    pub(crate) is_shared: bool,
}

impl ClientRequest {
    /// Marks the connection as logged in, so it is kept when there is no room for guests.
    pub(crate) fn admit(&self) {
        self.head.extensions.get::<GuestStatus>().inspect(|standing| standing.admit());
    }
}

impl Site {
    /// Returns the address of the client. Behind a proxy, it is the address that the proxy reports.
    pub(crate) fn client(&self, head: &Parts, peer: Peer) -> Option<IpAddr> {
        let address = peer.address.map(|address| address.ip());
        if !self.settings.behind_proxy {
            return address;
        }
        // Each proxy appends an address; the last is from our proxy.
        let last = head.headers.get_all(FORWARDED_FOR).iter().next_back().and_then(|value| value.to_str().ok());
        last.and_then(|list| list.rsplit(',').next()?.trim().parse().ok()).or(address)
    }

    /// Returns true if the browser's connection is encrypted, by this server or, according to its
    /// header, by the proxy.
    pub(crate) fn is_encrypted(&self, head: &Parts) -> bool {
        self.settings.tls.is_some()
            || self.settings.behind_proxy && head.headers.get(FORWARDED_PROTO).is_some_and(|value| value.as_bytes() == b"https")
    }

    /// Returns the cookie's name. It contains the port, because a host shares cookies between all
    /// of its ports.
    pub(crate) fn cookie_name(&self) -> String {
        format!("ostler-{}", self.settings.port)
    }

    /// Returns the session secret in the cookie.
    pub(crate) fn cookie<'a>(&self, head: &'a Parts) -> Option<&'a str> {
        let name = self.cookie_name();
        let pairs = head.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        pairs.filter_map(|pair| pair.trim().split_once('=')).find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Returns the identity of the client; none = unknown.
    pub(crate) fn identity(&self, head: &Parts) -> Result<Option<Identity>, FileError> {
        let mut store = self.store.borrow_mut();
        let access = store.get()?;
        if let Some(header) = head.headers.get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")));
            return Ok(token.and_then(|token| access.by_token(token.trim())));
        }
        Ok(self.cookie(head).and_then(|cookie| access.by_session(cookie, crate::clock::now_ms())))
    }
}
