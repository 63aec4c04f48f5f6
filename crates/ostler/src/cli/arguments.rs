//! Words that completion offers for the arguments of commands.

use super::table::{Fits, Places, Word, leads, word};

/// Names of apps.
pub(super) const APPS: Places = &[&[Fits::Apps]];
/// Apps, or single instances by id.
pub(super) const INSTANCES: Places = &[&[Fits::Apps, Fits::Ids]];
pub(super) const INSTANCES_OR_ALL: Places = &[&[Fits::Apps, Fits::Ids, Fits::All]];
/// Apps by name, namespace or id.
pub(super) const SELECTED: Places = &[&[Fits::Apps, Fits::Namespaces, Fits::Ids]];
pub(super) const TARGETS: Places = &[&[Fits::Apps, Fits::Namespaces, Fits::Ids, Fits::All]];
pub(super) const TARGETS_OR_FILE: Places = &[&[Fits::Apps, Fits::Namespaces, Fits::Ids, Fits::All, Fits::ConfigFiles]];
pub(super) const START: Places = &[&[Fits::Apps, Fits::Namespaces, Fits::Ids, Fits::Files]];
pub(super) const NAMED: Places = &[&[Fits::Apps, Fits::Namespaces]];
pub(super) const PROJECT: Places = &[&[Fits::ProjectApps]];
pub(super) const FILES: Places = &[&[Fits::Files]];
pub(super) const FOLDERS: Places = &[&[Fits::Folders]];
pub(super) const CONFIG_FILES: Places = &[&[Fits::ConfigFiles]];
pub(super) const SIGNALLED: Places = &[&[Fits::Signals], &[Fits::Apps, Fits::Ids]];
pub(super) const TRIGGERED: Places = &[&[Fits::Apps, Fits::Namespaces, Fits::Ids, Fits::All], &[Fits::Actions]];
pub(super) const ERRORS: Places = &[&[Fits::Apps, Fits::ErrorIds]];
pub(super) const SETTING: Places = &[&[Fits::Settings]];
pub(super) const CHANGED_SETTING: Places = &[&[Fits::ChangedSettings]];
pub(super) const SETTING_AND_VALUE: Places = &[&[Fits::Settings], &[Fits::SettingValues]];
pub(super) const MODULES: Places = &[&[Fits::Modules]];
pub(super) const MODULES_OR_ALL: Places = &[&[Fits::Modules, Fits::All]];
pub(super) const COMMAND: Places = &[&[Fits::Commands]];
pub(super) const JOBS: Places = &[&[Fits::Words(&[leads("run", "run a job now", &[&[Fits::Apps, Fits::Ids]])]), Fits::Apps, Fits::Ids]];

pub(super) const SANDBOX: Places =
    &[&[Fits::Words(&[word("learn", "propose rules from the behaviour of an app")])], &[Fits::Apps, Fits::Ids]];

pub(super) const ROLLOUT: Places = &[&[Fits::Words(&[
    leads("status", "progress of the newest release", APPS),
    leads("history", "earlier releases", APPS),
    leads("undo", "roll back to an earlier release", APPS),
])]];

pub(super) const SERVICE: Places = &[&[Fits::Words(&[word("run", "start the saved apps"), word("reload", "reload all apps")])]];

pub(super) const PLATFORMS: Places = &[&[Fits::Words(&[
    word("systemd", "most Linux distributions"),
    word("upstart", "older Ubuntu"),
    word("systemv", "scripts in /etc/init.d"),
    word("openrc", "Alpine, Gentoo"),
    word("launchd", "macOS"),
    word("rcd", "FreeBSD"),
    word("rcd-openbsd", "OpenBSD"),
    word("smf", "illumos, Solaris"),
])]];

pub(super) const EXPORT: Places = &[
    &[Fits::Words(&[
        word("dockerfile", "Docker image"),
        word("compose", "Docker Compose"),
        word("kubernetes", "Kubernetes manifests"),
        word("systemd", "systemd units"),
        word("nomad", "Nomad job"),
        word("github-actions", "GitHub workflow"),
        word("gitlab-ci", "GitLab pipeline"),
    ])],
    &[Fits::ConfigFiles],
];

pub(super) const IMPORT: Places = &[
    &[
        Fits::Words(&[
            word("compose", "Docker Compose file"),
            word("systemd", "systemd unit"),
            word("procfile", "Procfile"),
            word("supervisor", "supervisord configuration"),
        ]),
        // A list of its own: PM2's completion offers only the first one.
        Fits::Words(&[word("oxmgr", "oxmgr configuration")]),
    ],
    &[Fits::Files],
];

pub(super) const ECOSYSTEM: Places = &[&[Fits::Words(&[word("simple", "only the required keys")])]];

pub(super) const DEPLOY: Places = &[
    &[Fits::DeployEnvironments, Fits::ConfigFiles],
    &[Fits::Words(&[
        word("setup", "prepare the hosts"),
        word("update", "deploy the newest release"),
        word("ref", "deploy a commit, branch or tag"),
        word("revert", "go back to an earlier release"),
        word("current", "show the current release"),
        word("previous", "show the previous release"),
        word("list", "list the releases"),
        word("exec", "run a command on the hosts"),
    ])],
];

pub(super) const WEB: Places = &[&[Fits::Words(&[
    word("enable", "turn the dashboard on, or change its settings"),
    word("disable", "turn the dashboard off"),
    word("open", "create a link for the first login"),
    word("status", "show address, settings and tokens"),
    word("passwd", "set the password"),
    word("token", "create or revoke a token for programs"),
])]];

const CHANNEL: &[Word] = &[
    word("list", "list the channels"),
    leads("add", "add or change a channel", &[&[Fits::ChannelTypes]]),
    leads("remove", "remove a channel", &[&[Fits::Channels]]),
];

pub(super) const ALERTS: Places = &[&[Fits::Words(&[
    word("list", "firing alerts, silences and channels"),
    word("history", "past alerts and notifications"),
    leads("test", "send a test message", &[&[Fits::Channels]]),
    leads("silence", "send no alerts of an app for a while", &[&[Fits::Apps, Fits::All]]),
    leads("unsilence", "end a silence", &[&[Fits::Silences, Fits::All]]),
    leads("channel", "list, add or remove channels", &[&[Fits::Words(CHANNEL)]]),
])]];

pub(super) const COMPLETION: Places = &[&[Fits::Words(&[
    word("install", "add completion to the shell's start file"),
    word("uninstall", "remove it from there"),
    word("bash", "print the script for bash"),
    word("zsh", "print the script for zsh"),
    word("fish", "print the script for fish"),
])]];

pub(super) const COMPAT: Places =
    &[&[Fits::Words(&[word("install", "create the links"), word("uninstall", "remove the links"), word("status", "show the links")])]];
