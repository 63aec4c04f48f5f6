//! Context of every command: under which name we were called, where the home is, the way to the daemon, the way to the user.

mod daemon;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ostler_core::app::inherit::OF_ONE_PROCESS;
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::home::home_paths::HomePaths;
use ostler_core::text::os_text;
use ostler_proto::control::{Detail, Failure, Request, Response};

use crate::cli::Daemon;
use crate::client::{self, Client, ClientError, RETRIES};
use crate::error::{CliError, CommandError};
use crate::home::{self, Program};
use crate::left_behind;
use crate::other_pm2;
use crate::render::{Out, ProgressPrinter, Wording};

pub(crate) use daemon::{own_path, text as path_text, wait_for_end};

/// Variables that a managed app gets about itself. They must not reach an app that it starts by calling us.
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
pub(crate) type Step = fn(&mut Cx) -> Result<(), CliError>;

/// Context of one call.
pub(crate) struct Cx {
    /// Name under which we were called.
    pub program: Program,
    /// Everything that is printed goes through this.
    pub out: Out,
    /// Need of the running command for the daemon.
    pub needs: Daemon,
    /// The keeper that this call has started.
    pub launched: Option<i32>,
    /// Whether a daemon may start in a home in which PM2's own daemon runs: only to take over its apps.
    pub takes_over_pm2: bool,
    /// What is done once when this call has started a daemon: a new one has no modules yet.
    pub on_launch: Option<Step>,
    home: Option<PathBuf>,
    client: Option<Client>,
    /// Interrupts what waits for the daemon.
    alarm: Option<OwnedFd>,
    /// Pipe on which a keeper reports that it listens.
    coming: Option<OwnedFd>,
    /// Whether a file that our environment names in vain was reported.
    has_warned: bool,
}

impl Cx {
    /// Nothing is touched yet: neither the home nor a socket.
    pub(crate) fn new(program: Program, out: Out, needs: Daemon) -> Self {
        Self {
            program,
            out,
            needs,
            launched: None,
            takes_over_pm2: false,
            on_launch: None,
            home: None,
            client: None,
            alarm: None,
            coming: None,
            has_warned: false,
        }
    }

    /// The home: absolute and ours. It exists if this command may start a daemon.
    ///
    /// # Errors
    /// It cannot be found, made or used; the message says which and why.
    pub(crate) fn home(&mut self) -> Result<&Path, CliError> {
        if self.home.is_none() {
            let path = home::locate(self.program)?;
            // A daemon that runs does what it is asked although the disk takes nothing.
            if self.may_start() && !is_served(&path) {
                home::prepare(&path, self.program)?
            } else {
                home::check(&path, self.program)?
            }
            self.home = Some(path);
        }
        Ok(self.home.as_deref().unwrap_or(Path::new("/")))
    }

    /// Returns the files of the home. Called as `pm2` a command uses those that its own environment names,
    /// as PM2's do; ours use those of the running daemon.
    ///
    /// # Errors
    /// As [`Cx::home`].
    pub(crate) fn paths(&mut self) -> Result<HomePaths, CliError> {
        let of = if self.program.is_pm2() { home::paths_of_shell } else { home::paths };
        self.home().map(of)
    }

    /// [`Cx::paths`] for a command that uses the file of this variable. Warns once if our environment names
    /// another file than the running daemon.
    ///
    /// # Errors
    /// As [`Cx::home`].
    pub(crate) fn paths_with(&mut self, variable: &'static str) -> Result<HomePaths, CliError> {
        let paths = self.paths()?;
        let shell = home::paths_of_shell(&paths.home);
        if let Some((_, own)) = shell.moved().find(|(name, _)| *name == variable)
            && let Some(used) = paths.of(variable).filter(|used| *used != own)
            && !std::mem::replace(&mut self.has_warned, true)
        {
            let (used, own) = (used.display(), own.display());
            self.out.warn_err(format_args!("the running daemon uses {used}: {variable} ({own}) counts when a daemon is started"));
        }
        Ok(paths)
    }

    /// Sets the home, which is there, wherever others would look for it.
    pub(crate) fn set_home(&mut self, home: PathBuf) {
        self.home = Some(home);
    }

    /// Waits for a keeper that somebody else is just starting; no other is to be started.
    pub(crate) fn wait_for_keeper(&mut self, ready: OwnedFd) {
        self.needs = Daemon::Unused;
        self.coming = Some(ready);
    }

    /// Uses this home, whatever the environment says.
    ///
    /// # Errors
    /// It cannot be made or used.
    pub(crate) fn use_home(&mut self, path: PathBuf) -> Result<(), CliError> {
        home::prepare(&path, self.program)?;
        self.home = Some(path);
        self.client = None;
        Ok(())
    }

    /// The connection, made at the first use. Starts a daemon when the command may.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] for commands that never start one.
    pub(crate) fn client(&mut self) -> Result<&mut Client, CliError> {
        if self.client.is_none() {
            let home = self.home()?.to_owned();
            if let Some(ready) = self.coming.take() {
                // It has said itself why it does not.
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
                None if self.needs == Daemon::Reads && self.take_over(&home)? => return self.client(),
                None => {
                    self.refuse_beside_pm2(&home, &format!("run `{}` here", self.program.name()))?;
                    return Err(ClientError::NotRunning { home: home.display().to_string() }.into());
                }
            };
        }
        self.client.as_mut().ok_or(CliError::NoConnection)
    }

    /// The connection if a daemon is running; none is ever started for this.
    ///
    /// # Errors
    /// Anything but "not running".
    pub(crate) fn running_client(&mut self) -> Result<Option<&mut Client>, CliError> {
        if self.client.is_none() {
            let home = self.home()?.to_owned();
            self.client = self.reach(&home)?;
        }
        Ok(self.client.as_mut())
    }

    /// A connection to whoever is there; none when nobody is.
    fn reach(&self, home: &Path) -> Result<Option<Client>, CliError> {
        // Whoever starts a keeper leaves it to that one to look for another that this folder was taken from.
        let is_new = self.may_start() && !home.join(ostler_keeper::LOCK_FILE).exists();
        let connect = || match if is_new { client::connect(home) } else { client::connect_or_find(home) } {
            Ok(client) => self.with_alarm(client).map(Some),
            Err(ClientError::NotRunning { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        };
        let mut attempt = 0;
        loop {
            let Some(mut client) = connect()? else { return Ok(None) };
            // The socket of a killed daemon still accepts for an instant. A greeting shows that a daemon is behind the socket.
            attempt += 1;
            match client.greet() {
                Err(ClientError::Lost(_)) if attempt <= RETRIES => {}
                // Somebody is there, and the request will tell who.
                Err(ClientError::Version { .. }) => return connect(),
                greeted => return Ok(greeted.map(|()| Some(client))?),
            }
        }
    }

    fn with_alarm(&self, mut client: Client) -> Result<Client, CliError> {
        if let Some(alarm) = &self.alarm {
            client.heed(alarm.as_fd())?;
        }
        Ok(client)
    }

    /// Output and connection at the same time.
    ///
    /// # Errors
    /// As [`Cx::client`].
    pub(crate) fn parts(&mut self) -> Result<(&mut Out, &mut Client), CliError> {
        self.client()?;
        let client = self.client.as_mut().ok_or(CliError::NoConnection)?;
        Ok((&mut self.out, client))
    }

    /// Sends a request that changes something, prints its progress, and returns the ids that were touched.
    ///
    /// # Errors
    /// As [`Cx::client`], and what the daemon says.
    pub(crate) fn perform(&mut self, request: &Request, wording: Wording) -> Result<Vec<u32>, CliError> {
        let (out, client) = self.parts()?;
        out.flush();
        let mut printer = ProgressPrinter::new(out, wording);
        match client.request(request, &mut |progress| printer.print(progress))? {
            Response::Done { ids } => Ok(ids),
            _ => Err(ClientError::Unexpected.into()),
        }
    }

    /// The instances that the targets select; where there are none that is "not found", too.
    ///
    /// # Errors
    /// As [`Cx::client`], and [`Failure::NotFound`].
    pub(crate) fn find(&mut self, targets: &[String]) -> Result<Vec<Detail>, CliError> {
        let details = self.client()?.inspect(targets)?;
        match targets.first() {
            Some(target) if details.is_empty() => Err(Failure::NotFound { target: target.clone() }.into()),
            _ => Ok(details),
        }
    }

    /// Gives up the connection, after a request that ends it.
    pub(crate) fn disconnect(&mut self) {
        self.client = None;
    }

    /// Lets this descriptor end waits for the daemon from now on: they end with [`ClientError::Interrupted`] when it becomes readable.
    ///
    /// # Errors
    /// No more descriptors.
    pub(crate) fn heed(&mut self, alarm: BorrowedFd<'_>) -> Result<(), CliError> {
        self.alarm = Some(alarm.try_clone_to_owned().map_err(CliError::system("receive signals"))?);
        Ok(())
    }

    /// Ends [`Cx::heed`].
    pub(crate) fn heed_nothing(&mut self) {
        self.alarm = None;
    }

    /// The environment of this call, to be passed on to apps, byte for byte ([`os_text`]): without those variables that tell the calling process itself who
    /// it is.
    pub(crate) fn env(&self) -> EnvMap {
        let managed = std::env::var_os("pm_id").is_some();
        std::env::vars_os()
            .map(|(key, value)| (os_text::encode(key.as_bytes()), os_text::encode(value.as_bytes())))
            .filter(|(key, _)| !(OF_ONE_PROCESS.contains(&key.as_str()) || managed && OWN_TO_APP.contains(&key.as_str())))
            .collect()
    }

    /// Starts a daemon where there is none because it was killed, and something of it still runs: then also a command that never starts one
    /// does, to have that supervised again. False where nothing runs.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) fn take_over(&mut self, home: &Path) -> Result<bool, CliError> {
        let runs = left_behind::of(home).is_some_and(|left| left.alive > 0 || !left.strays.is_empty());
        if runs {
            self.client = Some(self.start_daemon(home)?);
        }
        Ok(runs)
    }

    /// Reports what is left of a former daemon: a list that had one does not vanish without a word.
    fn report_left_behind(&mut self, home: &Path) {
        match left_behind::of(home) {
            Some(left) if left.alive > 0 || !left.strays.is_empty() => self.out.warn_err(left_behind::taken_over(&left)),
            Some(left) if self.needs == Daemon::Reads => self.out.warn_err(left_behind::lost(&left, home, self.program.name())),
            _ => {}
        }
    }

    fn may_start(&self) -> bool {
        match self.needs {
            Daemon::Starts => true,
            Daemon::Reads => self.program.is_pm2() && self.coming.is_none(),
            Daemon::Unused | Daemon::NoHome => false,
        }
    }

    /// Returns an error if PM2's own daemon runs in this home, unless this call takes over its apps.
    ///
    /// # Errors
    /// It runs: ostler does not do `what` there.
    pub(crate) fn refuse_beside_pm2(&self, home: &Path, what: &str) -> Result<(), CliError> {
        if self.takes_over_pm2 { Ok(()) } else { other_pm2::refuse(home, what) }
    }

    fn start_daemon(&mut self, home: &Path) -> Result<Client, CliError> {
        // Apps of ours that still run need a daemon even if PM2's runs, too.
        if left_behind::of(home).is_none_or(|left| left.alive == 0) {
            self.refuse_beside_pm2(home, "start a daemon")?;
        }
        self.report_left_behind(home);
        self.out.spawning(home);
        let (client, keeper) = client::launch(home, self.program.is_pm2())?;
        self.launched = keeper;
        self.out.spawned();
        // A sandbox is around us as around the daemon: said once, to whoever starts it.
        for refused in ostler_sys::refused::refused() {
            self.out.warn_err(refused);
        }
        self.with_alarm(client)
    }
}

/// Stands for a current directory that was removed: nothing is there, and nothing can be made there.
const REMOVED_FOLDER: &str = "/proc/removed-current-directory";

/// Refuses an app whose working directory would be the removed one.
///
/// # Errors
/// It would be.
pub(crate) fn check_working_directory(spec: &AppSpec) -> Result<(), CliError> {
    if !Path::new(&spec.cwd).starts_with(REMOVED_FOLDER) {
        return Ok(());
    }
    Err(CommandError::NoWorkingDirectory(crate::text::shown(&spec.name)).into())
}

/// True if the current directory was removed.
pub(crate) fn is_cwd_removed() -> bool {
    std::env::current_dir().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// The directory against which relative paths are understood: `$PWD` when it is right (it keeps symlinks), else the real one.
/// Most commands resolve none, so a directory that was removed is no error yet.
///
/// # Errors
/// The directory cannot be read, or its path is no text.
pub(crate) fn cwd() -> Result<String, CliError> {
    if is_cwd_removed() {
        return Ok(REMOVED_FOLDER.to_owned());
    }
    let real = std::env::current_dir().map_err(|source| CliError::File { what: "read", path: "the current directory".into(), source })?;
    let named = std::env::var_os("PWD").map(PathBuf::from).filter(|pwd| pwd.is_absolute() && same_file(pwd, &real));
    named
        .unwrap_or(real)
        .into_os_string()
        .into_string()
        .map_err(|path| CliError::NotText { what: "the path of the current directory", path })
}

/// Returns true if a daemon listens in this home, which is not writable: most requests need no disk.
fn is_served(home: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(home, Access::WRITE_OK | Access::EXEC_OK).is_err() && client::connect(home).is_ok()
}

/// Both paths lead to the same file.
pub(crate) fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    id(one).is_some() && id(one) == id(other)
}
