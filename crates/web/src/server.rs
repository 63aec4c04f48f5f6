//! The server: reads the settings once, takes the daemon's sockets, and passes each request through
//! the checks.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use ostler_http::{Address, Guests, Limits, Peer, ServerError};

use crate::access::Store;
use crate::access::audit::Audit;
use crate::daemon::Daemon;
use crate::errors::collect;
use crate::history::Recorder;
use crate::hosts::HostsReader;
use crate::http::guard::Guard;
use crate::http::reply::{self, Body};
use crate::http::shares::Shares;
use crate::json_file::{FileError, make_folder};
use crate::metrics::scrape::Scraper;
use crate::profiles::Profiles;
use crate::routes;
use crate::settings::tls;
use crate::settings::{Settings, SettingsError};
use crate::site::{ClientRequest, Site};

/// Time limit for a client to send a head or to read anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Maximum number of connections.
const CONNECTIONS: usize = 256;
/// Maximum number of connections per address before a login. A proxy has one address for all of its
/// clients.
const GUESTS: usize = 64;
const GUESTS_OF_PROXY: usize = 192;
/// Maximum number of logins per address whose body has not arrived yet.
const LOGINS: usize = 8;

/// Failure to start the server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("cannot follow the daemon")]
    Follow(#[source] std::io::Error),
}

/// Serves until it is asked to stop.
pub(crate) fn run(home: &Path, hosts: HostsReader) -> Result<(), WebError> {
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
            hosts,
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
            routes::answer(site, ClientRequest { head, body, from, is_shared }).await
        }
    };
    if is_head {
        let (parts, _) = response.into_parts();
        response = Response::from_parts(parts, http_body_util::BodyExt::boxed_unsync(http_body_util::Empty::new()));
    }
    reply::protect(response.headers_mut());
    response
}
