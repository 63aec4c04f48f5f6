//! Requests that change something, with the progress of each app in ostler's own look. On a
//! terminal, the apps that are waited for have live lines.
//!
//! The request itself waits for the daemon, so a thread draws. It asks the daemon over a connection
//! of its own what the apps wait for, and where they listen.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ostler_client::ports::PortScan;
use ostler_proto::control::{Request, Response};

use crate::client::{self, Client, ClientError};
use crate::render::{Board, InstanceFacts, MessageStyle, Volume};

/// Time before the first live line: most changes are faster.
const FIRST_TICK: Duration = Duration::from_millis(300);

/// Time between two updates of the live lines.
const TICK: Duration = Duration::from_millis(100);

/// Time between two updates without a terminal.
const PLAIN_TICK: Duration = Duration::from_millis(1000);

/// Longest wait for facts, which are an extra.
const FACTS_LIMIT: Duration = Duration::from_secs(2);

/// Progress that the request and the thread share.
struct Shared {
    board: Mutex<(Board, bool)>,
    over: Condvar,
    began: Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Board, bool)> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Sends the request and prints its progress on stderr. Adds the apps whose failure was printed to
/// `failed`.
///
/// # Errors
/// Returns the errors of [`Client::request`].
pub(super) fn request(
    client: &mut Client,
    request: &Request,
    board: Board,
    style: MessageStyle,
    home: PathBuf,
    failed: &mut BTreeSet<String>,
) -> Result<Response, ClientError> {
    let shared = Shared { board: Mutex::new((board, false)), over: Condvar::new(), began: Instant::now() };
    let thread_of = |stage: Stage| {
        let shared = &shared;
        move || stage.run(shared)
    };
    std::thread::scope(|scope| {
        let stage = Stage { home: home.clone(), style: style.clone(), facts: BTreeMap::new(), client: None, drawn: 0 };
        let thread = std::thread::Builder::new().spawn_scoped(scope, thread_of(stage));
        let result = client.request(request, &mut |progress| {
            let at_ms = shared.elapsed_ms();
            shared.lock().0.apply(progress, at_ms);
        });
        let mut ended = shared.lock();
        // If an app failed, the daemon has still done the rest.
        if matches!(result, Ok(_) | Err(ClientError::Refused(_))) {
            ended.0.confirm();
        }
        ended.1 = true;
        drop(ended);
        shared.over.notify_all();
        match thread {
            Ok(thread) => drop(thread.join()),
            // No thread is left for this user: the lines are printed at the end.
            Err(_) => Stage { home, style, facts: BTreeMap::new(), client: None, drawn: 0 }.print(&shared, true),
        }
        failed.extend(shared.lock().0.failed().iter().cloned());
        result
    })
}

/// Printer of the lines.
struct Stage {
    home: PathBuf,
    style: MessageStyle,
    facts: BTreeMap<u32, InstanceFacts>,
    client: Option<Client>,
    /// Number of live lines on the screen.
    drawn: usize,
}

impl Stage {
    fn run(mut self, shared: &Shared) {
        let tick = if self.style.is_terminal { TICK } else { PLAIN_TICK };
        let mut wait = FIRST_TICK.max(tick);
        loop {
            let board = shared.lock();
            let (board, _) = shared.over.wait_timeout_while(board, wait, |(_, is_over)| !*is_over).unwrap_or_else(PoisonError::into_inner);
            let is_over = board.1;
            drop(board);
            self.print(shared, is_over);
            if is_over {
                return;
            }
            wait = tick;
        }
    }

    /// Prints the lines of apps that are done, and draws the live lines again.
    fn print(&mut self, shared: &Shared, is_over: bool) {
        let unknown = shared.lock().0.unknown(is_over);
        if !unknown.is_empty() && self.style.volume == Volume::All {
            self.learn(&unknown);
        }
        let view = self.style.view();
        let mut board = shared.lock();
        // The request may have ended in the meantime; then its last lines come with the next call.
        board.0.name(&self.facts);
        let finished = board.0.finished(&self.facts, is_over, &view);
        let is_live = self.style.is_terminal && !is_over;
        let live = if is_live { board.0.live(shared.elapsed_ms(), &self.facts, self.style.rows(), &view) } else { Vec::new() };
        drop(board);
        let mut text = String::new();
        if self.drawn > 0 {
            // To the first live line, and remove everything from there on.
            text += &format!("\x1b[{}A\r\x1b[J", self.drawn);
        }
        let lines = finished.iter().filter(|line| self.style.volume == Volume::All || line.is_trouble);
        for line in lines.map(|line| &line.text).chain(&live) {
            text += &self.style.printable(line);
            text.push('\n');
        }
        self.drawn = live.len();
        if !text.is_empty() {
            // A failure of stderr cannot be reported anywhere.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }

    /// Asks the daemon about these instances. Without an answer, the lines have fewer facts.
    fn learn(&mut self, ids: &BTreeSet<u32>) {
        if self.client.is_none() {
            self.client = client::connect(&self.home).ok().map(|mut client| {
                client.set_silence_handler(None);
                client.limit(FACTS_LIMIT);
                client
            });
        }
        let targets: Vec<String> = ids.iter().map(u32::to_string).collect();
        let Some(Ok(details)) = self.client.as_mut().map(|client| client.inspect_in(&targets, "/".into())) else { return };
        let mut scan = PortScan::take();
        self.facts.extend(details.iter().map(|detail| (detail.id, InstanceFacts::of(detail, &scan.lasting_ports(detail)))));
    }
}
