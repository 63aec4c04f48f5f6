//! `monit` in tmux, over ssh, and on terminals without UTF-8 or colours.

use std::process::{Command, Output};

use ostler_testkit::{Home, Terminal, needs_program};

use crate::deploy::host;
use crate::setup::{home, start_fixture};

/// A tmux session that runs `monit`.
struct Tmux<'a> {
    home: &'a Home,
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        drop(self.run("kill-server"));
    }
}

impl<'a> Tmux<'a> {
    /// Starts the session with these variables, as a shell sets them.
    #[track_caller]
    fn start(home: &'a Home, variables: &str) -> Self {
        let socket = home.root().join("tmux");
        let inside = format!("{variables} exec \\\"$0\\\" monit");
        let text = format!("tmux -u -f /dev/null -S {} new-session -d -x 100 -y 30 \"{inside}\"\nexit", socket.display());
        home.cmd("").env("TERM", "xterm-256color").after(&text).run().ok();
        Self { home }
    }

    fn run(&self, words: &str) -> Output {
        Command::new("tmux").arg("-S").arg(self.home.root().join("tmux")).args(words.split(' ')).output().unwrap()
    }

    /// Returns the screen, with colour sequences on request.
    fn screen(&self, with_colours: bool) -> String {
        let output = self.run(if with_colours { "capture-pane -e -p" } else { "capture-pane -p" });
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        self.home.wait_until(text, || self.screen(false).contains(text));
    }
}

/// Returns true if a sequence sets a colour, not only weight or reverse video.
fn has_colours(screen: &str) -> bool {
    let attributes = screen.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m')).flat_map(|(all, _)| all.split(';'));
    attributes.filter_map(|attribute| attribute.parse::<u16>().ok()).any(|number| matches!(number, 30..=38 | 40..=48 | 90..=107))
}

#[test]
fn monit_works_in_tmux() {
    needs_program!("tmux");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let tmux = Tmux::start(&home, "NO_COLOR=");
    for text in ["1 instance | 1 online", "┌─ Process List", "app Logs", "Script path"] {
        tmux.wait_for(text);
    }
    assert!(has_colours(&tmux.screen(true)), "{:?}", tmux.screen(true));
    // The view follows the window's size, and keys work.
    tmux.run("resize-window -x 60 -y 20");
    home.wait_until("it fits", || {
        let screen = tmux.screen(false);
        let widest = screen.lines().map(|line| line.trim_end().chars().count()).max();
        widest == Some(60) && screen.contains("1 instance")
    });
    let pid = home.app("app").pid();
    tmux.run("send-keys r");
    tmux.wait_for("Restart app (0)? [y/n]");
    tmux.run("send-keys y");
    tmux.wait_for("restart app (0): done");
    assert_ne!(home.app("app").pid(), pid);
    tmux.run("send-keys q");
    home.wait_until("the session is over", || !tmux.run("has-session").status.success());
}

#[test]
fn no_color_disables_colours() {
    needs_program!("tmux");
    let home = home();
    start_fixture(&home, "app", "", "hold");
    let tmux = Tmux::start(&home, "NO_COLOR=1");
    tmux.wait_for("1 instance | 1 online");
    tmux.wait_for("Script path");
    assert!(!has_colours(&tmux.screen(true)), "{:?}", tmux.screen(true));
}

#[test]
fn monit_works_without_utf_8() {
    needs_program!("setsid");
    let home = home();
    let script = home.write("talk.sh", "#!/bin/sh\necho 'gr\\303\\274\\303\\237e'\nexec sleep 1000\n");
    home.ok(format!("start {script} --name talker"));
    let mut terminal = Terminal::start(home.cmd("monit").env("LC_ALL", "C"), 100, 30);
    for text in ["1 instance | 1 online", "Process List", "talker Logs", "Script path"] {
        terminal.wait_for(text);
    }
    assert!(terminal.text().is_ascii(), "{}", terminal.text());
    assert!(terminal.text().contains("+-"), "frames are drawn: {}", terminal.text());
    terminal.press("q");
    assert!(terminal.end().success());
    assert!(terminal.is_as_before() && terminal.changed_modes().is_empty(), "{:?}", terminal.changed_modes());
}

#[test]
fn monit_works_over_ssh() {
    needs_program!("setsid");
    let home = home();
    let host = host!(&home);
    start_fixture(&home, "app", "", "hold");
    let shell = format!("exec setsid -c -w {} ostler monit", host.ssh());
    let mut terminal = Terminal::start_shell(home.cmd(""), &shell, 100, 30);
    for text in ["1 instance | 1 online", "Process List", "app Logs", "Script path"] {
        terminal.wait_for(text);
    }
    let pid = home.app("app").pid();
    terminal.press("r");
    terminal.wait_for("Restart app (0)? [y/n]");
    terminal.press("y");
    terminal.wait_for("restart app (0): done");
    assert_ne!(home.app("app").pid(), pid);
    terminal.resize(60, 20);
    terminal.wait_until("it fits", |screen| screen.lines().map(|line| line.trim_end().chars().count()).max() == Some(60));
    terminal.press("q");
    assert!(terminal.end().success());
    assert!(terminal.is_as_before());
}

/// A broken connection leaves no process behind.
#[test]
fn broken_ssh_connection_leaves_no_process() {
    needs_program!("setsid");
    let home = home();
    let host = host!(&home);
    start_fixture(&home, "app", "", "hold");
    let before = home.processes().len();
    let shell = format!("exec setsid -c -w {} ostler monit", host.ssh());
    let terminal = Terminal::start_shell(home.cmd(""), &shell, 100, 30);
    terminal.wait_for("1 online");
    ostler_testkit::kill(terminal.pid(), rustix::process::Signal::KILL);
    home.processes()
        .iter()
        .filter(|p| p.cmdline.starts_with("ssh "))
        .for_each(|p| ostler_testkit::kill(p.pid, rustix::process::Signal::KILL));
    home.wait_until("the view has ended", || home.processes().len() == before);
    assert_eq!(home.app("app").status(), "online");
}
