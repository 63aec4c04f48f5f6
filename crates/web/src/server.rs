//! The server: settings read once, sockets of the daemon, every request through the doors.

use std::cell::RefCell;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderName};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use ostler_http::{Address, Ending, Guests, Limits, Peer, ServerError, Standing};

use crate::access::{AccessError, Attempts, Identity, Store};
use crate::audit::Audit;
use crate::daemon::Daemon;
use crate::errors::{Collected, collect};
use crate::guard::Guard;
use crate::history::Recorder;
use crate::profiles::Profiles;
use crate::reply::{self, Body};
use crate::routes;
use crate::scrape::Scraper;
use crate::settings::{Settings, SettingsError, make_folder};
use crate::shares::Shares;
use crate::tls;

/// How long a client may take for a head, or to read anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most connections.
const CONNECTIONS: usize = 256;
/// Most connections of an address before a login. A proxy has one address for all of its clients.
const GUESTS: usize = 64;
const GUESTS_OF_PROXY: usize = 192;
/// Most logins of an address whose body has not arrived.
const LOGINS: usize = 8;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A reason why it cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("cannot follow the daemon")]
    Follow(#[source] std::io::Error),
}

/// What all requests share.
pub(crate) struct Site {
    pub(crate) home: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) daemon: Daemon,
    pub(crate) store: RefCell<Store>,
    pub(crate) attempts: RefCell<Attempts>,
    pub(crate) audit: Audit,
    pub(crate) alerts: crate::alerts::Shared,
    pub(crate) ending: Ending,
    /// One password is checked at a time: each takes 19 MiB.
    pub(crate) checking: tokio::sync::Semaphore,
    pub(crate) shares: Shares,
    /// Logins whose body has not arrived.
    pub(crate) logins: Rc<Guests>,
    pub(crate) errors: Rc<Collected>,
    pub(crate) otlp: Rc<crate::otlp::Otlp>,
    pub(crate) profiles: Rc<Profiles>,
    pub(crate) scraper: Rc<Scraper>,
    guard: Guard,
}

/// One request, with whoever asks.
pub(crate) struct Asked {
    pub(crate) head: Parts,
    pub(crate) body: Incoming,
    /// Address of the client; none = by a unix socket.
    pub(crate) from: Option<IpAddr>,
    /// True if other clients may have this address, too, or claim it: loopback, a unix socket, whatever a proxy says.
    pub(crate) is_shared: bool,
}

impl Asked {
    /// Lets the connection of the request stay when there is no room for guests.
    pub(crate) fn admit(&self) {
        self.head.extensions.get::<Standing>().inspect(|standing| standing.admit());
    }
}

/// Serves until it is asked to end.
pub(crate) fn run(home: &Path) -> Result<(), WebError> {
    let settings = Settings::read(home)?;
    settings.check()?;
    make_folder(home)?;
    let own = Address { host: settings.listen.clone(), port: settings.port };
    let encryption = settings.tls.as_ref().map(tls::encryption).transpose()?;
    let guests = if settings.behind_proxy || settings.socket_path().is_some() { GUESTS_OF_PROXY } else { GUESTS };
    let limits = Limits { patience: PATIENCE, connections: CONNECTIONS, guests: Some(guests) };
    let recorder = Recorder::of(home, settings.history_bytes());
    let ended = ostler_http::run(&own, limits, encryption, |ending| {
        let daemon = Daemon::follow(home, recorder.clone()).map_err(WebError::Follow)?;
        let errors = collect(home, daemon.clone(), ending.clone());
        let otlp = crate::otlp::start(home, &settings, &daemon, &ending);
        let alerts = crate::alerts::start(home, &daemon, &errors, &ending);
        let scraper = Scraper::start(home, &daemon, recorder.clone(), ending.clone());
        let site = Rc::new(Site {
            home: home.to_owned(),
            guard: Guard::new(&settings),
            settings,
            daemon,
            store: RefCell::new(Store::of(home)),
            attempts: RefCell::default(),
            audit: Audit::of(home),
            alerts,
            ending,
            checking: tokio::sync::Semaphore::new(1),
            shares: Shares::default(),
            logins: Guests::new(Some(LOGINS)),
            errors,
            otlp,
            profiles: Rc::new(Profiles::of(home)),
            scraper,
        });
        Ok(move |peer, request| answer(Rc::clone(&site), peer, request))
    });
    recorder.flush();
    ended
}

async fn answer(site: Rc<Site>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let is_head = head.method == hyper::Method::HEAD;
    let by_tcp = peer.address.is_some();
    let mut response = match site.guard.check(&head, by_tcp) {
        Err((status, text)) => reply::error(status, text),
        // The second socket is PM2's page, which has no login.
        Ok(()) if peer.socket == 1 => routes::pm2_page(&site, &head).await,
        Ok(()) => {
            let from = site.client(&head, peer);
            let is_shared = site.settings.behind_proxy || from.is_none_or(|from| from.to_canonical().is_loopback());
            routes::answer(site, Asked { head, body, from, is_shared }).await
        }
    };
    if is_head {
        let (parts, _) = response.into_parts();
        response = Response::from_parts(parts, http_body_util::BodyExt::boxed_unsync(http_body_util::Empty::new()));
    }
    reply::protect(response.headers_mut());
    response
}

impl Site {
    /// The address of the client: what the proxy says, where there is one.
    fn client(&self, head: &Parts, peer: Peer) -> Option<IpAddr> {
        let address = peer.address.map(|address| address.ip());
        if !self.settings.behind_proxy {
            return address;
        }
        // Each proxy appends; the last is ours.
        let last = head.headers.get_all(FORWARDED_FOR).iter().next_back().and_then(|value| value.to_str().ok());
        last.and_then(|list| list.rsplit(',').next()?.trim().parse().ok()).or(address)
    }

    /// True if the browser's way to us is encrypted, by us or, as it says, by the proxy.
    pub(crate) fn is_encrypted(&self, head: &Parts) -> bool {
        self.settings.tls.is_some()
            || self.settings.behind_proxy && head.headers.get(FORWARDED_PROTO).is_some_and(|value| value.as_bytes() == b"https")
    }

    /// Name of the cookie: cookies of one host are the same on all of its ports.
    pub(crate) fn cookie_name(&self) -> String {
        format!("ostler-{}", self.settings.port)
    }

    /// The login in the cookie.
    pub(crate) fn cookie<'a>(&self, head: &'a Parts) -> Option<&'a str> {
        let name = self.cookie_name();
        let pairs = head.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        pairs.filter_map(|pair| pair.trim().split_once('=')).find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Whoever asks; none = nobody that is known.
    pub(crate) fn identity(&self, head: &Parts) -> Result<Option<Identity>, AccessError> {
        let mut store = self.store.borrow_mut();
        let access = store.get()?;
        if let Some(header) = head.headers.get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")));
            return Ok(token.and_then(|token| access.by_token(token.trim())));
        }
        Ok(self.cookie(head).and_then(|cookie| access.by_session(cookie, crate::now_ms())))
    }
}
