//! Context of every command: the name of the call, the home, the connection to the daemon, and the
//! output to the user.

mod daemon;
mod live;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ostler_core::app::inherit::OF_ONE_PROCESS;
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::home::home_paths::HomePaths;
use ostler_core::text::os_text;
use ostler_core::{marked, message};
use ostler_proto::control::{Detail, Failure, Request, Response};
use ostler_sys::users::user::user_by_id;

use crate::cli::DaemonUse;
use crate::client::{self, Client, ClientError, RETRIES};
use crate::error::{CliError, CommandError};
use crate::home::{self, Program};
use crate::left_behind;
use crate::other_pm2;
use crate::render::{Board, Change, InstancesBefore, Out, ProgressPrinter, ProjectLook, Wording};

pub(crate) use daemon::{own_path, text as path_text, wait_for_exit};

/// Variables that describe a managed app to itself. They must not reach an app that this app starts
/// by calling ostler.
const OWN_TO_APP: &[&str] = &[
    "pm_id",
    "name",
    "namespace",
    "status",
    "unique_id",
    "args",
    "node_args",
    "exec_mode",
    "exec_interpreter",
    "instances",
    "instance_var",
    "NODE_APP_INSTANCE",
    "pm_cwd",
    "pm_exec_path",
    "pm_out_log_path",
    "pm_err_log_path",
    "pm_log_path",
    "pm_pid_path",
    "pm_uptime",
    "created_at",
    "restart_time",
    "unstable_restarts",
    "prev_restart_delay",
    "exit_code",
    "autostart",
    "autorestart",
    "watch",
    "treekill",
    "automation",
    "pmx",
    "vizion",
    "vizion_running",
    "merge_logs",
    "username",
    "windowsHide",
    "kill_retry_time",
    "km_link",
    "version",
    "node_version",
    "axm_actions",
    "axm_monitor",
    "axm_options",
    "axm_dynamic",
    "PM2_USAGE",
];

/// A step of a call.
pub(crate) type LaunchHook = fn(&mut Cx) -> Result<(), CliError>;

/// Context of one call.
pub(crate) struct Cx {
    /// Name under which the program was called.
    pub program: Program,
    /// Output of this call; everything that is printed goes through it.
    pub out: Out,
    /// Need of the running command for the daemon.
    pub needs: DaemonUse,
    /// Keeper that this call has started.
    pub launched: Option<i32>,
    /// Targets that this call has changed already, so that a later failure can name them.
    pub done: Vec<String>,
    /// Whether a daemon may start in a home in which PM2's own daemon runs. This is allowed only to
    /// take over its apps.
    pub takes_over_pm2: bool,
    /// Step that runs once if this call has started a daemon, because a new daemon has no modules
    /// yet.
    pub on_launch: Option<LaunchHook>,
    home: Option<PathBuf>,
    client: Option<Client>,
    /// Descriptor that interrupts waits for the daemon.
    alarm: Option<OwnedFd>,
    /// Pipe on which a keeper reports that it listens.
    coming: Option<OwnedFd>,
    /// Whether a warning about an ignored file variable was printed.
    has_warned: bool,
    /// Apps whose failure was printed while a request was in progress.
    failed: BTreeSet<String>,
}

impl Cx {
    /// Creates a context. It touches neither the home nor a socket yet.
    pub(crate) fn new(program: Program, out: Out, needs: DaemonUse) -> Self {
        Self {
            program,
            out,
            needs,
            launched: None,
            done: Vec::new(),
            takes_over_pm2: false,
            on_launch: None,
            home: None,
            client: None,
            alarm: None,
            coming: None,
            has_warned: false,
            failed: BTreeSet::new(),
        }
    }

    /// Returns the end of an error line for a command that changes apps: what it has changed before
    /// the error. Called as `pm2`, ostler prints PM2's words only.
    pub(crate) fn changed_words(&self) -> String {
        if self.program.is_pm2() || self.needs != DaemonUse::Starts {
            return String::new();
        }
        let mut done: Vec<String> = self.done.iter().map(|target| crate::text::shown(target)).collect();
        done.dedup();
        if done.is_empty() {
            message!("; nothing was changed")
        } else {
            message!("; changed before that: {names}", names = done.join(", "))
        }
    }

    /// Returns the home: absolute, and owned by this user. It exists if this command may start a
    /// daemon.
    ///
    /// # Errors
    /// Returns an error if the home cannot be found, created or used; the message gives the path
    /// and the cause.
    pub(crate) fn home(&mut self) -> Result<&Path, CliError> {
        if self.home.is_none() {
            let path = home::locate(self.program)?;
            // A running daemon serves requests even if the disk is full or read-only.
            if self.may_start() && !is_served(&path) {
                home::prepare(&path, self.program)?
            } else {
                home::check(&path, self.program)?
            }
            self.home = Some(path);
        }
        Ok(self.home.as_deref().unwrap_or(Path::new("/")))
    }

    /// Returns the files of the home. Called as `pm2`, a command uses the files that its own
    /// environment names, as PM2's commands do. Other commands use those of the running daemon.
    ///
    /// # Errors
    /// Returns the errors of [`Cx::home`].
    pub(crate) fn paths(&mut self) -> Result<HomePaths, CliError> {
        let of = if self.program.is_pm2() { home::shell_paths } else { home::paths };
        self.home().map(of)
    }

    /// Works like [`Cx::paths`], for a command that uses the file of this variable. Warns once if
    /// our environment names another file than the running daemon.
    ///
    /// # Errors
    /// Returns the errors of [`Cx::home`].
    pub(crate) fn paths_with(&mut self, variable: &'static str) -> Result<HomePaths, CliError> {
        let paths = self.paths()?;
        let shell = home::shell_paths(&paths.home);
        if let Some((_, own)) = shell.moved().find(|(name, _)| *name == variable)
            && let Some(used) = paths.of(variable).filter(|used| *used != own)
            && !std::mem::replace(&mut self.has_warned, true)
        {
            let (used, own) = (used.display(), own.display());
            self.out.warn_err(message!(
                "the running daemon uses {used}: {variable} ({own}) takes effect when a daemon starts",
                used,
                variable,
                own
            ));
        }
        Ok(paths)
    }

    /// Sets the home, which must exist, instead of the usual search.
    pub(crate) fn set_home(&mut self, home: PathBuf) {
        self.home = Some(home);
    }

    /// Waits for a keeper that another process is just starting, and starts no other keeper.
    pub(crate) fn wait_for_keeper(&mut self, ready: OwnedFd) {
        self.needs = DaemonUse::Unused;
        self.coming = Some(ready);
    }

    /// Uses this home and ignores the environment.
    ///
    /// # Errors
    /// Returns an error if the home cannot be created or used.
    pub(crate) fn use_home(&mut self, path: PathBuf) -> Result<(), CliError> {
        home::prepare(&path, self.program)?;
        self.home = Some(path);
        self.client = None;
        Ok(())
    }

    /// Returns the connection, which is made at the first use. Starts a daemon if the command may
    /// do so.
    ///
    /// # Errors
    /// Returns [`ClientError::NotRunning`] for commands that never start a daemon.
    pub(crate) fn client(&mut self) -> Result<&mut Client, CliError> {
        if self.client.is_none() {
            let home = self.home()?.to_owned();
            if let Some(ready) = self.coming.take() {
                // The keeper itself has reported why it failed.
                ostler_keeper::wait_ready(&ready).map_err(|_| CliError::Reported(crate::error::Status::Failed))?;
            }
            self.client = match self.reach(&home)? {
                Some(client) => Some(client),
                None if self.may_start() => {
                    self.client = Some(self.start_daemon(&home)?);
                    if let Some(then) = self.on_launch.take() {
                        then(self)?;
                    }
                    return self.client();
                }
                None if self.needs == DaemonUse::Reads && self.take_over(&home)? => return self.client(),
                None => {
                    self.refuse_beside_pm2(&home, &message!("run `{program}` here", program = self.program.name()))?;
                    return Err(ClientError::NotRunning { home: home.display().to_string() }.into());
                }
            };
        }
        self.client.as_mut().ok_or(CliError::NoConnection)
    }

    /// Returns the connection if a daemon is running. Never starts a daemon.
    ///
    /// # Errors
    /// Returns any error except "not running".
    pub(crate) fn running_client(&mut self) -> Result<Option<&mut Client>, CliError> {
        if self.client.is_none() {
            let home = self.home()?.to_owned();
            self.client = self.reach(&home)?;
        }
        Ok(self.client.as_mut())
    }

    /// Connects to the daemon that listens in this home; returns none if no daemon listens.
    fn reach(&self, home: &Path) -> Result<Option<Client>, CliError> {
        // In a new home, the keeper that this command starts searches for an older keeper of the
        // folder. The client then need not do it.
        let is_new = self.may_start() && !home.join(ostler_keeper::LOCK_FILE).exists();
        let connect = || match if is_new { client::connect(home) } else { client::connect_or_find(home) } {
            Ok(client) => self.with_alarm(client).map(Some),
            Err(ClientError::NotRunning { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        };
        let mut attempt = 0;
        loop {
            let Some(mut client) = connect()? else { return Ok(None) };
            // The socket of a killed daemon still accepts connections for an instant. A greeting
            // proves that a daemon is behind the socket.
            attempt += 1;
            match client.handshake() {
                Err(ClientError::Lost(_)) if attempt <= RETRIES => {}
                // A daemon of another version answered. The request itself will report its version.
                Err(ClientError::Version { .. }) => return connect(),
                greeted => return Ok(greeted.map(|()| Some(client))?),
            }
        }
    }

    fn with_alarm(&self, mut client: Client) -> Result<Client, CliError> {
        if let Some(alarm) = &self.alarm {
            client.interrupt_on(alarm.as_fd())?;
        }
        Ok(client)
    }

    /// Returns output and connection at the same time.
    ///
    /// # Errors
    /// Returns the errors of [`Cx::client`].
    pub(crate) fn parts(&mut self) -> Result<(&mut Out, &mut Client), CliError> {
        self.client()?;
        let client = self.client.as_mut().ok_or(CliError::NoConnection)?;
        Ok((&mut self.out, client))
    }

    /// Sends a request that changes something, prints its progress, and returns the ids of the
    /// affected instances.
    ///
    /// # Errors
    /// Returns the errors of [`Cx::client`], and the daemon's error.
    pub(crate) fn perform(&mut self, request: &Request, wording: Wording) -> Result<Vec<u32>, CliError> {
        match self.request(request, wording)? {
            Response::Done { ids } => Ok(ids),
            _ => Err(ClientError::Unexpected.into()),
        }
    }

    /// Works like [`Cx::perform`], and shows the apps as those of a project.
    ///
    /// # Errors
    /// Returns the errors of [`Cx::client`], and the daemon's error.
    pub(crate) fn perform_for(&mut self, look: &ProjectLook, request: &Request, wording: Wording) -> Result<(), CliError> {
        self.request_for(look.clone(), request, wording).map(drop)
    }

    /// Works like [`Cx::perform`], for any response.
    ///
    /// # Errors
    /// Returns the errors of [`Cx::client`], and the daemon's error.
    pub(crate) fn request(&mut self, request: &Request, wording: Wording) -> Result<Response, CliError> {
        self.request_for(ProjectLook::default(), request, wording)
    }

    fn request_for(&mut self, look: ProjectLook, request: &Request, wording: Wording) -> Result<Response, CliError> {
        let program = self.program;
        let home = self.home()?.to_owned();
        self.client()?;
        let client = self.client.as_mut().ok_or(CliError::NoConnection)?;
        let out = &mut self.out;
        out.flush();
        let own = Change::of(request).filter(|_| !program.is_pm2() && wording != Wording::Signal);
        Ok(match own {
            Some(change) => {
                let style = out.message_style();
                // Without an answer, the lines do not compare with the state before.
                let before = change.compares().then(|| client.table().ok()).flatten().map(InstancesBefore::of);
                let board = Board::new(change, program.name(), style.is_terminal).of_project(look);
                let board = board.with_before(before).with_detached(request);
                live::request(client, request, board, style, home, &mut self.failed)?
            }
            None => {
                let mut printer = ProgressPrinter::new(out, wording);
                client.request(request, &mut |progress| printer.print(progress))?
            }
        })
    }

    /// Returns true if the failure of this app was printed.
    pub(crate) fn has_shown_failure(&self, app: &str) -> bool {
        self.failed.contains(app)
    }

    /// Returns the instances that the targets select. An empty list is "not found", too.
    ///
    /// # Errors
    /// Returns the errors of [`Cx::client`], and [`Failure::NotFound`].
    pub(crate) fn find(&mut self, targets: &[String]) -> Result<Vec<Detail>, CliError> {
        let details = self.client()?.inspect(targets)?;
        match targets.first() {
            Some(target) if details.is_empty() => Err(Failure::NotFound { target: target.clone() }.into()),
            _ => Ok(details),
        }
    }

    /// Drops the connection, after a request that closes it.
    pub(crate) fn disconnect(&mut self) {
        self.client = None;
    }

    /// From now on, waits for the daemon end with [`ClientError::Interrupted`] when this descriptor
    /// becomes readable.
    ///
    /// # Errors
    /// Returns an error if no descriptor is left.
    pub(crate) fn interrupt_on(&mut self, alarm: BorrowedFd<'_>) -> Result<(), CliError> {
        self.alarm = Some(alarm.try_clone_to_owned().map_err(CliError::system(message!("receive signals")))?);
        Ok(())
    }

    /// Undoes [`Cx::interrupt_on`].
    pub(crate) fn clear_interrupt(&mut self) {
        self.alarm = None;
    }

    /// Returns the environment of this call for apps, byte for byte ([`os_text`]). Variables that
    /// describe the calling app to itself are removed.
    pub(crate) fn env(&self) -> EnvMap {
        let managed = std::env::var_os("pm_id").is_some();
        std::env::vars_os()
            .map(|(key, value)| (os_text::encode(key.as_bytes()), os_text::encode(value.as_bytes())))
            .filter(|(key, _)| !(OF_ONE_PROCESS.contains(&key.as_str()) || managed && OWN_TO_APP.contains(&key.as_str())))
            .collect()
    }

    /// Starts a daemon if the previous one was killed and some of its processes still run, so that
    /// they are supervised again. Even commands that never start a daemon do this. Returns false if
    /// no such process runs.
    ///
    /// # Errors
    /// Returns an error if the daemon cannot be started.
    pub(crate) fn take_over(&mut self, home: &Path) -> Result<bool, CliError> {
        let runs = left_behind::of(home).is_some_and(|left| left.alive > 0 || !left.strays.is_empty());
        if runs {
            self.client = Some(self.start_daemon(home)?);
        }
        Ok(runs)
    }

    /// Reports what is left of a former daemon, so that its list does not disappear without a
    /// message.
    fn report_left_behind(&mut self, home: &Path) {
        match left_behind::of(home) {
            Some(left) if left.alive > 0 || !left.strays.is_empty() => self.out.warn_err(left_behind::recovered_message(&left)),
            Some(left) if self.needs == DaemonUse::Reads => self.out.warn_err(left_behind::lost_message(&left, home, self.program.name())),
            _ => {}
        }
    }

    fn may_start(&self) -> bool {
        match self.needs {
            DaemonUse::Starts => true,
            DaemonUse::Reads => self.program.is_pm2() && self.coming.is_none(),
            DaemonUse::Unused | DaemonUse::NoHome => false,
        }
    }

    /// Returns an error if PM2's own daemon runs in this home, unless this call takes over its
    /// apps.
    ///
    /// # Errors
    /// Returns an error if PM2 runs. The text names `what` as the action that ostler rejects in
    /// this home.
    pub(crate) fn refuse_beside_pm2(&self, home: &Path, what: &str) -> Result<(), CliError> {
        if self.takes_over_pm2 { Ok(()) } else { other_pm2::refuse(home, what) }
    }

    fn start_daemon(&mut self, home: &Path) -> Result<Client, CliError> {
        // Apps of ostler that still run need a daemon, even if PM2's daemon runs too.
        if left_behind::of(home).is_none_or(|left| left.alive == 0) {
            self.refuse_beside_pm2(home, &message!("start a daemon"))?;
        }
        self.report_left_behind(home);
        self.out.spawning(home);
        let (client, keeper) = client::launch(home, self.program.is_pm2())?;
        self.launched = keeper;
        self.out.spawned(home);
        // A sandbox restricts this process in the same way as the daemon. The command that starts
        // the daemon reports it once.
        for refused in ostler_sys::refused_calls::refused() {
            self.out.warn_err(refused);
        }
        self.with_alarm(client)
    }
}

/// Path that replaces a removed current directory. It does not exist and cannot be created.
const REMOVED_FOLDER: &str = "/proc/removed-current-directory";

/// Rejects an app whose working directory would be the removed one.
///
/// # Errors
/// Returns an error for such an app.
pub(crate) fn check_working_directory(spec: &AppSpec) -> Result<(), CliError> {
    if !Path::new(&spec.cwd).starts_with(REMOVED_FOLDER) {
        return Ok(());
    }
    Err(CommandError::NoWorkingDirectory(crate::text::shown(&spec.name)).into())
}

/// Returns true if the current directory was removed.
pub(crate) fn is_cwd_removed() -> bool {
    std::env::current_dir().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Returns the directory against which relative paths are resolved: `$PWD` if it is correct (it
/// keeps symlinks), else the real one. Most commands resolve no path, so a removed directory is no
/// error yet.
///
/// # Errors
/// Returns an error if the directory cannot be read, or if its path is not UTF-8.
pub(crate) fn cwd() -> Result<String, CliError> {
    if is_cwd_removed() {
        return Ok(REMOVED_FOLDER.to_owned());
    }
    let real = std::env::current_dir().map_err(|source| CliError::File {
        what: marked!("read"),
        path: message!("the current directory"),
        source,
    })?;
    let named = std::env::var_os("PWD").map(PathBuf::from).filter(|pwd| pwd.is_absolute() && same_file(pwd, &real));
    named
        .unwrap_or(real)
        .into_os_string()
        .into_string()
        .map_err(|path| CliError::NotText { what: marked!("the path of the current directory"), path })
}

/// Returns true if a daemon listens in this home although the home is not writable: most requests
/// need no disk.
fn is_served(home: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(home, Access::WRITE_OK | Access::EXEC_OK).is_err() && client::connect(home).is_ok()
}

/// Returns the name of a user of this machine.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    Some(user_by_id(uid).ok()??.name)
}

/// Returns true if both paths lead to the same file.
pub(crate) fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    id(one).is_some() && id(one) == id(other)
}
