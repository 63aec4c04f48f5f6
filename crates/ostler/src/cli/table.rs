//! The types of the option and command table.

use crate::error::Status;

/// Argument of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    /// No value: `--silent`.
    None,
    /// `--name <name>`.
    Required(&'static str),
    /// `--log [path]`: the next word, unless it is an option or more likely the target.
    Optional(&'static str),
    /// `--max-restarts [n]`: the next word only if it is a number.
    OptionalNumber(&'static str),
    /// `--raw[=bytes]`: only what is attached; the next word never belongs to it.
    Attached(&'static str),
    /// `--stop-exit-codes <codes...>`: the next word and every number after it.
    Numbers(&'static str),
}

/// Attribute of an app that an option sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributeEffect {
    /// None: the option changes only the command.
    Nothing,
    /// Main attribute name; the value as text, or true if the option has no value.
    Text(&'static str),
    /// Main attribute name; all given values as a list, or true if the option has no value.
    List(&'static str),
    /// Main attribute name and a fixed value.
    Bool(&'static str, bool),
    /// `watch_delay`: seconds on the command line, milliseconds in files.
    Seconds(&'static str),
}

/// Headline in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The script or program and how to run it.
    App,
    /// Environment.
    Env,
    /// Log and pid files.
    Logs,
    /// Restart policy and stop.
    Lifecycle,
    /// Watching files.
    Watch,
    /// The command itself.
    Call,
    /// Accepted for PM2 scripts, without effect here.
    Accepted,
}

/// One option.
#[derive(Debug)]
pub(crate) struct Opt {
    /// Main spelling without dashes; also its identity.
    pub long: &'static str,
    /// One letter.
    pub short: Option<char>,
    /// Further long spellings.
    pub aliases: &'static [&'static str],
    /// Value.
    pub arg: Arg,
    /// Effect on the app.
    pub sets: AttributeEffect,
    /// Headline under which it is listed.
    pub group: Group,
    /// One line.
    pub help: &'static str,
}

/// Need of a command for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DaemonUse {
    /// The command starts the daemon if it is not running.
    Starts,
    /// The command only reads. It does not start a daemon, unless it is called as `pm2`.
    Reads,
    /// The command needs no daemon.
    Unused,
    /// The command needs no daemon and does not use the home from the environment, or it needs
    /// root's rights for other files.
    NoHome,
}

/// Kind of word that fits at a place of a command line, for completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fits {
    /// Names of apps.
    Apps,
    /// Namespaces.
    Namespaces,
    /// Ids of instances.
    Ids,
    /// The word `all`.
    All,
    /// Apps of the project of this folder, by their names in the file.
    ProjectApps,
    /// Those, each with a `=` for a number.
    ProjectAppCounts,
    /// Profiles of compose services.
    ComposeProfiles,
    /// Profiles (`env_<name>`) of the config file.
    Profiles,
    /// Environments of the config file's `deploy` part.
    DeployEnvironments,
    /// Files.
    Files,
    /// Config files, and folders on the way to them.
    ConfigFiles,
    /// Folders.
    Folders,
    /// These words.
    Words(&'static [Word]),
    /// Names of commands.
    Commands,
    /// Names of signals.
    Signals,
    /// Users of this machine.
    Users,
    /// Groups of this machine.
    Groups,
    /// Time zones.
    Zones,
    /// Hosts and groups of the hosts file.
    Hosts,
    /// Releases of the app before.
    Releases,
    /// Actions of the app before.
    Actions,
    /// Ids of grouped errors.
    ErrorIds,
    /// Settings that exist, whether set or not.
    Settings,
    /// Settings that are set.
    ChangedSettings,
    /// Values of the setting before.
    SettingValues,
    /// Installed modules.
    Modules,
    /// Types of alert channels.
    ChannelTypes,
    /// Configured alert channels.
    Channels,
    /// Ids of silences.
    Silences,
    /// Tokens of the dashboard.
    Tokens,
}

/// Words that fit, by the place of an argument.
pub(crate) type Places = &'static [&'static [Fits]];

/// Fixed word of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub word: &'static str,
    /// One line.
    pub about: &'static str,
    /// Words that fit after it, if they differ from the others of the command.
    pub then: Places,
}

/// Returns a word that changes nothing about later words.
pub(super) const fn word(word: &'static str, about: &'static str) -> Word {
    Word { word, about, then: &[] }
}

/// Returns a word with the words that follow it.
pub(super) const fn leads(word: &'static str, about: &'static str, then: Places) -> Word {
    Word { word, about, then }
}

/// One exit code.
#[derive(Debug)]
pub(crate) struct ExitCode {
    /// Status that has this code.
    pub status: Status,
    /// Meaning in the help of the program.
    pub short: &'static str,
    /// Meaning in the man page and the reference.
    pub meaning: &'static str,
}

/// An exit code.
pub(super) const fn exit(status: Status, short: &'static str, meaning: &'static str) -> ExitCode {
    ExitCode { status, short, meaning }
}

/// Options of apps that a command uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppOptions {
    /// None.
    None,
    /// The options that set an attribute.
    Attributes,
    /// The same, and after `--` the arguments of the app.
    AttributesAndArguments,
}

/// Whether a command works already.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Availability {
    /// It works.
    Works,
    /// PM2's command has nothing to do here, or ostler has an alternative. The text explains it.
    Elsewhere(&'static str),
}

/// Headline of a command in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Starting and stopping.
    Control,
    /// Inspecting.
    Inspect,
    /// Saving, the daemon, the files.
    Keep,
    /// PM2's other commands.
    Later,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Main name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// Arguments as shown in the help.
    pub args: &'static str,
    /// Fewest arguments.
    pub min_args: usize,
    /// More arguments are an error (PM2 ignores them for most commands).
    pub max_args: Option<usize>,
    /// Own options.
    pub options: &'static [Opt],
    /// Global options with an effect, in lists of [`super::shared_options`].
    pub shared: &'static [&'static [&'static str]],
    /// Options of apps with an effect.
    pub app_options: AppOptions,
    /// Global options of PM2 that are accepted without an effect.
    pub ignores: &'static [&'static str],
    /// One line.
    pub help: &'static str,
    /// Example command lines, without the program name.
    pub examples: &'static [&'static str],
    /// Need for the daemon.
    pub daemon: DaemonUse,
    /// Exit codes that only this command has.
    pub exit_codes: &'static [ExitCode],
    /// Words that completion offers after it. If the command takes any number of arguments, the
    /// last place repeats.
    pub completes: Places,
    /// Headline under which it is listed.
    pub section: Section,
    /// Whether it works.
    pub state: Availability,
}

/// Returns the entry for a command that works.
pub(super) const fn works(
    name: &'static str,
    args: &'static str,
    min_args: usize,
    daemon: DaemonUse,
    section: Section,
    help: &'static str,
) -> Command {
    Command {
        name,
        aliases: &[],
        args,
        min_args,
        max_args: None,
        options: &[],
        shared: &[],
        app_options: AppOptions::None,
        ignores: &[],
        help,
        examples: &[],
        daemon,
        exit_codes: &[],
        completes: &[],
        section,
        state: Availability::Works,
    }
}

/// Returns the entry for a command of PM2 that ostler does not need. The command prints the
/// alternative and fails.
pub(super) const fn elsewhere(
    name: &'static str,
    aliases: &'static [&'static str],
    args: &'static str,
    help: &'static str,
    what: &'static str,
) -> Command {
    Command { aliases, state: Availability::Elsewhere(what), ..works(name, args, 0, DaemonUse::Unused, Section::Later, help) }
}

/// Returns the entry for a command that starts or stops apps.
pub(super) const fn control(name: &'static str, args: &'static str, min_args: usize, help: &'static str) -> Command {
    works(name, args, min_args, DaemonUse::Starts, Section::Control, help)
}

/// Returns the entry for a command that only reads.
pub(super) const fn reads(name: &'static str, args: &'static str, min_args: usize, help: &'static str) -> Command {
    works(name, args, min_args, DaemonUse::Reads, Section::Inspect, help)
}

/// Returns the entry for a command that maintains files, settings or the daemon.
pub(super) const fn keeps(name: &'static str, args: &'static str, min_args: usize, daemon: DaemonUse, help: &'static str) -> Command {
    works(name, args, min_args, daemon, Section::Keep, help)
}
