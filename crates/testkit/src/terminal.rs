//! A terminal with a simulated user: a pseudo terminal, the typed keys, and the visible screen.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::home::{Cmd, DEADLINE, Home};

/// The terminal, and the program that runs on it.
#[derive(Debug)]
pub struct Terminal {
    keyboard: Option<File>,
    /// Thread that applies the output to the screen.
    reader: Option<JoinHandle<()>>,
    flags: Arc<TerminalFlags>,
    /// The terminal side, kept to check its settings.
    line: OwnedFd,
    screen: Arc<Mutex<Screen>>,
    child: Child,
}

/// Actions of the terminal's owner.
#[derive(Debug, Default)]
struct TerminalFlags {
    is_closed: AtomicBool,
    is_paused: AtomicBool,
}

/// Contents of the screen, and a record of the output.
#[derive(Debug, Default)]
struct Screen {
    columns: usize,
    rows: Vec<Vec<char>>,
    x: usize,
    y: usize,
    /// Cursor position on the main screen while the alternate screen is active.
    former: (usize, usize),
    /// Incomplete escape sequence.
    partial: Vec<u8>,
    /// Active modes (`?1049`).
    modes: Vec<String>,
    bytes: usize,
    /// Control characters and sequences that a view should not send.
    changed_modes: Vec<String>,
}

impl Terminal {
    /// Starts the command on a new terminal with this many columns and rows. The pid is that of the
    /// program.
    #[track_caller]
    pub fn start(command: Cmd<'_>, columns: usize, rows: usize) -> Self {
        Self::start_on("xterm-256color", command, columns, rows)
    }

    /// Starts a command of the manager with these words.
    #[track_caller]
    pub fn open(home: &Home, words: &str, columns: usize, rows: usize) -> Self {
        Self::start(home.cmd(words), columns, rows)
    }

    /// Works like [`Terminal::start`], on a terminal of this kind (`TERM`).
    #[track_caller]
    pub fn start_on(kind: &str, command: Cmd<'_>, columns: usize, rows: usize) -> Self {
        // The program gets its own session, without the test or a shell, and thus the terminal for
        // itself.
        let command = command.env("TERM", kind).after("exec setsid -c -w \"$0\" \"$@\"");
        Self::spawn(command, columns, rows)
    }

    /// Runs a shell text on a new terminal; `$MONIT` in it is the program of the command.
    #[track_caller]
    pub fn start_shell(command: Cmd<'_>, shell: &str, columns: usize, rows: usize) -> Self {
        Self::spawn(command.env("TERM", "xterm-256color").after(&format!("export MONIT=\"$0\"\n{shell}")), columns, rows)
    }

    fn spawn(command: Cmd<'_>, columns: usize, rows: usize) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let line = openat(CWD, name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&master, size(columns, rows)).unwrap();
        let end = || Stdio::from(line.try_clone().unwrap());
        let mut command = command.command();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = Arc::new(Mutex::new(Screen::default()));
        screen.lock().unwrap().resize(columns, rows);
        let output = File::from(master.try_clone().unwrap());
        let flags = Arc::new(TerminalFlags::default());
        let (shown, seen) = (screen.clone(), flags.clone());
        let reader = thread::spawn(move || show(output, &shown, &seen));
        Self { keyboard: Some(File::from(master)), reader: Some(reader), flags, line, screen, child }
    }

    /// Returns the pid of the program.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Types the keys.
    #[track_caller]
    pub fn press(&mut self, keys: &str) {
        self.keyboard.as_mut().expect("it is open").write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the size of the terminal.
    #[track_caller]
    pub fn resize(&mut self, columns: usize, rows: usize) {
        self.screen.lock().unwrap().resize(columns, rows);
        tcsetwinsize(self.keyboard.as_ref().expect("it is open").as_fd(), size(columns, rows)).unwrap();
    }

    /// Returns the lines of the screen.
    pub fn lines(&self) -> Vec<String> {
        self.screen.lock().unwrap().rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect()
    }

    /// Returns the screen as one text.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Returns the number of bytes received so far.
    pub fn bytes(&self) -> usize {
        self.screen.lock().unwrap().bytes
    }

    /// Returns the active modes: `?1049` is the alternate screen, `?25` a visible cursor.
    pub fn modes(&self) -> Vec<String> {
        self.screen.lock().unwrap().modes.clone()
    }

    /// Returns the output other than text, cursor positions, colours and modes.
    pub fn changed_modes(&self) -> Vec<String> {
        self.screen.lock().unwrap().changed_modes.clone()
    }

    /// Fails the test unless the program has restored the terminal: cooked mode, cursor and screen.
    #[track_caller]
    pub fn assert_restored(&self) {
        assert!(self.is_as_before(), "raw mode is left on");
        let until = Instant::now() + DEADLINE;
        // Its last bytes may still be in flight.
        while self.modes() != ["?25"] {
            assert!(Instant::now() < until, "{:?}", self.modes());
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.changed_modes(), [""; 0]);
    }

    /// Returns true if echo and line mode are on, as a shell expects.
    #[track_caller]
    pub fn is_as_before(&self) -> bool {
        let settings: Termios = tcgetattr(&self.line).unwrap();
        settings.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits until the screen contains this text.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    /// Waits until the screen satisfies the condition.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !condition(&self.text()) {
            assert!(Instant::now() < until, "waited in vain for {what:?}:\n{}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops reading the output (`true`), like a hanging connection or a user who pressed Ctrl-S,
    /// or resumes it.
    pub fn pause(&self, is_paused: bool) {
        self.flags.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Closes the terminal, like a broken connection.
    pub fn close(&mut self) {
        self.flags.is_closed.store(true, Ordering::Relaxed);
        drop(self.reader.take().map(JoinHandle::join));
        self.keyboard = None;
    }

    /// Waits until the program exits.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Applies the output to the screen until the terminal is closed.
fn show(mut output: File, screen: &Mutex<Screen>, flags: &TerminalFlags) {
    const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let mut bytes = [0; 4096];
    while !flags.is_closed.load(Ordering::Relaxed) {
        if flags.is_paused.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        match poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&LOOK)) {
            Ok(0) | Err(_) => continue,
            Ok(_) => {}
        }
        match output.read(&mut bytes) {
            Ok(length @ 1..) => screen.lock().unwrap().take(&bytes[..length]),
            // No process has the terminal open at the moment.
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn size(columns: usize, rows: usize) -> Winsize {
    let count = |number: usize| u16::try_from(number).unwrap();
    Winsize { ws_col: count(columns), ws_row: count(rows), ws_xpixel: 0, ws_ypixel: 0 }
}

impl Screen {
    fn resize(&mut self, columns: usize, rows: usize) {
        self.columns = columns;
        self.rows = vec![vec![' '; columns]; rows];
    }

    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        for &byte in bytes {
            self.partial.push(byte);
            if self.is_complete() {
                let whole = std::mem::take(&mut self.partial);
                self.answer_query(&String::from_utf8_lossy(&whole));
            }
        }
    }

    fn is_complete(&self) -> bool {
        match self.partial.as_slice() {
            [0x1b] | [0x1b, b'['] => false,
            [0x1b, b'[', .., last] => (0x40..=0x7e).contains(last),
            [0x1b, ..] => true,
            other => std::str::from_utf8(other).map_or_else(|error| error.error_len().is_some(), |_| true),
        }
    }

    fn answer_query(&mut self, what: &str) {
        if let Some(sequence) = what.strip_prefix("\u{1b}[") {
            let (parameters, last) = sequence.split_at(sequence.len() - 1);
            match last {
                "H" => {
                    let mut numbers = parameters.split(';').map(|number| number.parse::<usize>().unwrap_or(1) - 1);
                    (self.y, self.x) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
                }
                "J" => self.resize(self.columns, self.rows.len()),
                // The alternate screen is separate; the previous contents of this one are not kept.
                "h" | "l" if parameters == "?1049" => {
                    self.resize(self.columns, self.rows.len());
                    self.modes.retain(|mode| mode != parameters);
                    if last == "h" {
                        self.modes.push(parameters.to_owned());
                        self.former = (self.x, self.y);
                    } else {
                        (self.x, self.y) = self.former;
                    }
                }
                "h" => self.modes.push(parameters.to_owned()),
                "l" => self.modes.retain(|mode| mode != parameters),
                "m" => {}
                _ => self.changed_modes.push(what.to_owned()),
            }
            return;
        }
        let Some(c) = what.chars().next() else { return };
        match c {
            '\r' => self.x = 0,
            '\n' if self.y + 1 < self.rows.len() => self.y += 1,
            '\n' => {
                self.rows.remove(0);
                self.rows.push(vec![' '; self.columns]);
            }
            c if c.is_control() => self.changed_modes.push(what.to_owned()),
            c => {
                if let Some(cell) = self.rows.get_mut(self.y).and_then(|row| row.get_mut(self.x)) {
                    *cell = c;
                }
                self.x += 1;
            }
        }
    }
}
