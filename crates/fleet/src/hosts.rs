//! Hosts file: names, logins, groups, and the selection of hosts for a command.

use std::collections::{BTreeMap, HashSet};

use ostler_core::message;
use serde_json::{Map, Value};

use crate::ssh::{self, AddressError, Host, Login};

/// Maximum number of hosts in a file, and in a command.
const MAX_HOSTS: usize = 1024;

/// Name of the group with all hosts of the file.
const ALL: &str = "all";

/// Keys of the file.
const KEYS: &[&str] = &["hosts", "groups", "defaults"];

/// Keys of a host, and of `defaults`.
const HOST_KEYS: &[&str] = &["host", "user", "port", "key", "ssh_options", "forward_agent", "ostler", "home", "dashboard"];

/// Host that a command selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name in the file, or the text that the user typed; shown in outputs.
    pub name: String,
    /// How to log in.
    pub login: Login,
    /// Path of `ostler` on the host.
    pub program: Option<String>,
    /// Home of `ostler` on the host.
    pub home: Option<String>,
    /// Address of the host's dashboard for browsers: `http://` or `https://`.
    pub dashboard: Option<String>,
}

impl Member {
    /// Returns true if the host is this machine with this user.
    pub fn is_local(&self) -> bool {
        self.login.host.is_local() && self.login.host.user.is_none() && self.login.host.port.is_none()
    }
}

/// Reason why a hosts file, or a choice of hosts, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// File that makes no sense; the text begins with the key.
    #[error("{0}")]
    File(String),
    /// Group without hosts.
    #[error("{}", message!("{name} has no hosts", name = _0))]
    Empty(String),
    /// Choice without a host.
    #[error("{}", message!("no host is named"))]
    NoHost,
    /// Choice of so many hosts.
    #[error("{}", message!("{count} hosts are too many, at most {limit}", count = _0, limit = MAX_HOSTS))]
    TooMany(usize),
    /// Host that `ssh` cannot be given.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// The hosts file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    hosts: Vec<Member>,
    groups: BTreeMap<String, Vec<String>>,
    defaults: Member,
}

/// State of a search through groups.
#[derive(Default)]
struct GroupSearch {
    /// Groups that contain the current group.
    above: Vec<String>,
    /// Groups whose hosts were already collected.
    expanded: HashSet<String>,
}

impl Hosts {
    /// All keys that a hosts file may have.
    pub const KEYS: &[&str] =
        &["hosts", "groups", "defaults", "host", "user", "port", "key", "ssh_options", "forward_agent", "ostler", "home", "dashboard"];

    /// Reads the file's content. Also returns unknown keys, for a warning.
    ///
    /// # Errors
    /// Returns a message with the key and the problem if the file is invalid.
    ///
    /// ```
    /// let file = serde_json::json!({
    ///     "defaults": {"user": "deploy"},
    ///     "hosts": {"web1": "10.0.0.1", "web2": {"host": "10.0.0.2", "port": 2222}},
    ///     "groups": {"web": ["web1", "web2"]},
    /// });
    /// let (hosts, _) = ostler_fleet::Hosts::of(&file).unwrap();
    /// assert_eq!(hosts.select(&["web"]).unwrap().len(), 2);
    /// ```
    pub fn of(value: &Value) -> Result<(Self, Vec<String>), HostsError> {
        Self::read(value).map_err(HostsError::File)
    }

    fn read(value: &Value) -> Result<(Self, Vec<String>), String> {
        let map = value.as_object().ok_or_else(|| message!("expected a table with `hosts` and `groups`"))?;
        let mut unknown = unknown_keys(map, KEYS, "");
        let mut defaults = Member::default();
        if let Some(value) = present(map, "defaults") {
            let table = value.as_object().ok_or_else(|| message!("defaults: expected a table"))?;
            if table.contains_key("host") {
                return Err(message!("defaults.host: each host has its own"));
            }
            if table.contains_key("dashboard") {
                return Err(message!("defaults.dashboard: each host has its own"));
            }
            unknown.extend(unknown_keys(table, HOST_KEYS, "defaults."));
            member(&mut defaults, table).map_err(|why| format!("defaults.{why}"))?;
        }
        let mut file = Self { defaults, ..Self::default() };
        match present(map, "hosts") {
            None => {}
            Some(Value::Array(list)) => {
                for item in list {
                    let text = item.as_str().ok_or_else(|| message!("hosts: expected names, found {item}", item))?;
                    file.hosts.push(file.typed(text).map_err(|why| format!("hosts: {why}"))?);
                }
            }
            Some(Value::Object(table)) => {
                for (name, value) in table {
                    let (member, more) = file.named(name, value).map_err(|why| format!("hosts.{name}: {why}"))?;
                    unknown.extend(more);
                    file.hosts.push(member);
                }
            }
            Some(_) => return Err(message!("hosts: expected a table of names, or a list")),
        }
        if file.hosts.len() > MAX_HOSTS {
            return Err(message!("hosts: {count} are too many, at most {limit}", count = file.hosts.len(), limit = MAX_HOSTS));
        }
        if let Some(value) = present(map, "groups") {
            for (name, members) in value.as_object().ok_or_else(|| message!("groups: expected a table of lists"))? {
                file.groups.insert(name.clone(), group(name, members)?);
            }
        }
        file.check()?;
        Ok((file, unknown))
    }

    /// Checks that every group contains hosts and that no name is used twice.
    fn check(&self) -> Result<(), String> {
        for (at, host) in self.hosts.iter().enumerate() {
            if self.hosts.iter().take(at).any(|other| other.name == host.name) {
                return Err(message!("hosts: {name} is listed twice", name = format!("{:?}", host.name)));
            }
        }
        for (name, members) in &self.groups {
            if name == ALL {
                return Err(message!("groups.{name}: the name is already used by all hosts", name));
            }
            if self.hosts.iter().any(|host| host.name == *name) {
                return Err(message!("groups.{name}: the name is already used by a host", name));
            }
            for member in members {
                if member != ALL && !self.groups.contains_key(member) && !self.hosts.iter().any(|host| host.name == *member) {
                    let member = format!("{member:?}");
                    return Err(message!("groups.{name}: {member} is neither a host nor a group of this file", name, member));
                }
            }
            self.expand(name, &mut GroupSearch::default(), &mut Vec::new())?;
        }
        Ok(())
    }

    /// Returns the names of all hosts and groups, and `all`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|host| host.name.as_str()).chain(self.groups.keys().map(String::as_str)).chain([ALL])
    }

    /// Returns all hosts of the file, in its order.
    pub fn all(&self) -> &[Member] {
        &self.hosts
    }

    /// Returns the names of the groups, then those of the hosts.
    pub fn groups_and_hosts(&self) -> (Vec<&str>, Vec<&str>) {
        (self.groups.keys().map(String::as_str).collect(), self.hosts.iter().map(|host| host.name.as_str()).collect())
    }

    /// Returns the selected hosts in order, each once. A word is the name of a group or host of the
    /// file, `all`, or an address that `ssh` accepts (`host`, `user@host`, `user@host:port`).
    ///
    /// # Errors
    /// Returns an error if a word selects no host.
    pub fn select<T: AsRef<str>>(&self, words: &[T]) -> Result<Vec<Member>, HostsError> {
        let mut found: Vec<Member> = Vec::new();
        for word in words.iter().flat_map(|word| word.as_ref().split(',')).map(str::trim).filter(|word| !word.is_empty()) {
            let mut members = Vec::new();
            if word == ALL || self.groups.contains_key(word) {
                self.expand(word, &mut GroupSearch::default(), &mut members).map_err(HostsError::File)?;
                if members.is_empty() {
                    return Err(HostsError::Empty(word.to_owned()));
                }
            } else {
                members.push(match self.hosts.iter().find(|host| host.name == word) {
                    Some(host) => host.clone(),
                    None => self.typed(word)?,
                });
            }
            for member in members {
                if !found.iter().any(|known| known.name == member.name) {
                    found.push(member);
                }
            }
        }
        match found.len() {
            0 => Err(HostsError::NoHost),
            1..=MAX_HOSTS => Ok(found),
            many => Err(HostsError::TooMany(many)),
        }
    }

    fn expand(&self, group: &str, walk: &mut GroupSearch, found: &mut Vec<Member>) -> Result<(), String> {
        if group == ALL {
            found.extend(self.hosts.iter().cloned());
            return Ok(());
        }
        if walk.above.iter().any(|name| name == group) {
            return Err(message!("groups.{group}: it contains itself ({chain})", group, chain = walk.above.join(" → ")));
        }
        // A group may be reachable on a huge number of paths, so each group is visited once.
        if !walk.expanded.insert(group.to_owned()) {
            return Ok(());
        }
        walk.above.push(group.to_owned());
        for name in self.groups.get(group).into_iter().flatten() {
            if *name == ALL || self.groups.contains_key(name) {
                self.expand(name, walk, found)?;
            } else {
                found.extend(self.hosts.iter().find(|host| host.name == *name).cloned());
            }
        }
        walk.above.pop();
        Ok(())
    }

    fn named(&self, name: &str, value: &Value) -> Result<(Member, Vec<String>), String> {
        if name == ALL || name.contains([',', '@']) || name.trim() != name || name.is_empty() || name.chars().any(char::is_control) {
            return Err(message!("not a valid host name"));
        }
        let mut member = Member { name: name.to_owned(), ..self.defaults.clone() };
        match value {
            Value::Null => name.clone_into(&mut member.login.host.name),
            Value::String(text) => {
                let typed = self.typed(text).map_err(address_error_text)?;
                member.login = typed.login;
            }
            Value::Object(table) => {
                self::member(&mut member, table)?;
                if member.login.host.name.is_empty() {
                    member.login.host.name = ssh::name("host", name).map_err(address_error_text)?;
                }
                return Ok((member, unknown_keys(table, HOST_KEYS, &format!("hosts.{name}."))));
            }
            other => return Err(message!("expected an address or a table, found {found}", found = other)),
        }
        member.login.host.name = ssh::name("host", &member.login.host.name).map_err(address_error_text)?;
        Ok((member, Vec::new()))
    }

    /// Returns the host for an address that `ssh` accepts.
    fn typed(&self, text: &str) -> Result<Member, AddressError> {
        let (user, rest) = text.rsplit_once('@').map_or((None, text), |(user, rest)| (Some(user), rest));
        let (host, port) = with_port(rest)?;
        let mut member = Member { name: text.to_owned(), ..self.defaults.clone() };
        member.login.host = Host {
            name: ssh::name("host", host)?,
            user: user.map(|user| ssh::name("user", user)).transpose()?.or(member.login.host.user),
            port: port.or(member.login.host.port),
        };
        Ok(member)
    }
}

/// Parses `host:port` and `[address]:port`. An address with more colons is an IPv6 address.
fn with_port(text: &str) -> Result<(&str, Option<u16>), AddressError> {
    let number = |port: &str| ssh::port(&Value::String(port.to_owned())).map(Some).map_err(|_| AddressError::PortOf(text.to_owned()));
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, number(port)?)),
            None if rest.is_empty() => Ok((address, None)),
            None => Err(AddressError::Address(text.to_owned())),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((host, number(port)?)),
        _ => Ok((text, None)),
    }
}

fn group(name: &str, members: &Value) -> Result<Vec<String>, String> {
    let wrong = || message!("groups.{name}: expected a list of hosts and groups, found {members}", name, members);
    let list = members.as_array().ok_or_else(wrong)?;
    if list.len() > MAX_HOSTS {
        return Err(message!("groups.{name}: {count} are too many, at most {limit}", name, count = list.len(), limit = MAX_HOSTS));
    }
    list.iter().map(|member| member.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn address_error_text(error: AddressError) -> String {
    error.to_string()
}

/// Applies the settings of a table.
fn member(member: &mut Member, map: &Map<String, Value>) -> Result<(), String> {
    if let Some(host) = text(map, "host")? {
        member.login.host.name = ssh::name("host", &host).map_err(address_error_text)?;
    }
    if let Some(user) = text(map, "user")? {
        member.login.host.user = Some(ssh::name("user", &user).map_err(address_error_text)?);
    }
    if let Some(port) = present(map, "port") {
        member.login.host.port = Some(ssh::port(port).map_err(address_error_text)?);
    }
    if let Some(key) = text(map, "key")? {
        member.login.key = Some(key);
    }
    match present(map, "ssh_options") {
        None => {}
        Some(Value::String(option)) => member.login.options = vec![plain("ssh_options", option)?],
        Some(Value::Array(options)) => {
            let one = |option: &Value| {
                plain("ssh_options", option.as_str().ok_or_else(|| message!("ssh_options: expected strings, found {option}", option))?)
            };
            member.login.options = options.iter().map(one).collect::<Result<_, _>>()?;
        }
        Some(other) => return Err(message!("ssh_options: expected a list, found {found}", found = other)),
    }
    match present(map, "forward_agent") {
        None => {}
        Some(Value::Bool(on)) => member.login.forward_agent = *on,
        Some(other) => return Err(message!("forward_agent: expected true or false, found {found}", found = other)),
    }
    for (key, place) in [("ostler", &mut member.program), ("home", &mut member.home)] {
        if let Some(path) = text(map, key)? {
            if path.starts_with('-') {
                return Err(message!("{key}: {path} is not a path", key, path = format!("{path:?}")));
            }
            *place = Some(path);
        }
    }
    if let Some(url) = text(map, "dashboard")? {
        let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains('@');
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
        if !is_plain || host.is_empty() || host.starts_with('/') {
            return Err(message!("dashboard: expected an address such as https://web1.example.com/"));
        }
        member.dashboard = Some(url);
    }
    Ok(())
}

fn present<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    map.get(key).filter(|value| !value.is_null())
}

/// Returns a text; a number counts as a text, too.
fn text(map: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match present(map, key) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err(message!("{key}: is empty", key)),
        Some(Value::String(text)) => plain(key, text).map(Some),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(message!("{key}: expected a string, found {found}", key, found = other)),
    }
}

fn plain(key: &str, text: &str) -> Result<String, String> {
    if text.contains(['\0', '\n', '\r']) { Err(message!("{key}: contains a NUL byte or a line break", key)) } else { Ok(text.to_owned()) }
}

fn unknown_keys(map: &Map<String, Value>, known: &[&str], at: &str) -> Vec<String> {
    map.keys().filter(|key| !known.contains(&key.as_str())).map(|key| format!("{at}{key}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hosts(value: &Value) -> Hosts {
        Hosts::of(value).unwrap().0
    }

    fn line(member: &Member) -> String {
        let host = &member.login.host;
        let user = host.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        let port = host.port.map_or_else(String::new, |port| format!(":{port}"));
        format!("{}={user}{}{port}", member.name, host.name)
    }

    #[test]
    fn select_resolves_hosts_groups_and_addresses() {
        let file = hosts(&json!({
            "defaults": {"user": "deploy", "home": "/srv/o"},
            "hosts": {"web1": "10.0.0.1", "web2": {"host": "10.0.0.2", "port": "2222", "user": "u"}, "db.example.com": null, "six": "root@[::1]:7"},
            "groups": {"web": ["web1", "web2"], "back": ["db.example.com"], "both": ["back", "web", "web1"]},
        }));
        for (words, expected) in [
            ("web1", "web1=deploy@10.0.0.1"),
            ("web", "web1=deploy@10.0.0.1 web2=u@10.0.0.2:2222"),
            ("web2,web", "web2=u@10.0.0.2:2222 web1=deploy@10.0.0.1"),
            ("both", "db.example.com=deploy@db.example.com web1=deploy@10.0.0.1 web2=u@10.0.0.2:2222"),
            ("all", "web1=deploy@10.0.0.1 web2=u@10.0.0.2:2222 db.example.com=deploy@db.example.com six=root@::1:7"),
            ("x", "x=deploy@x"),
            (" me@x:22 , [fe80::1]:9,::1", "me@x:22=me@x:22 [fe80::1]:9=deploy@fe80::1:9 ::1=deploy@::1"),
        ] {
            let found = file.select(&[words]).unwrap();
            assert_eq!(found.iter().map(line).collect::<Vec<_>>().join(" "), expected, "{words}");
            assert!(found.iter().all(|member| member.home.as_deref() == Some("/srv/o")));
        }
        let listed = hosts(&json!({"hosts": ["a", "u@b:3"]}));
        assert_eq!(listed.select(&["all"]).unwrap().iter().map(line).collect::<Vec<_>>(), ["a=a", "u@b:3=u@b:3"]);
        for wrong in ["", " , ", "-oProxyCommand=x", "a b", "u@-x", "-l@x", "x:0", "x:70000", "x:y", "[::1]x", "$(x)"] {
            assert!(file.select(&[wrong]).is_err(), "{wrong:?}");
        }
        assert!(Hosts::default().select(&["all"]).unwrap_err().to_string().contains("no hosts"));
    }

    #[test]
    fn keys_are_those_of_the_file_and_of_hosts() {
        assert_eq!([KEYS, HOST_KEYS].concat(), Hosts::KEYS);
    }

    #[test]
    fn dashboards_have_web_addresses() {
        let file = hosts(&json!({"hosts": {"a": {"dashboard": "https://a.example.com/ops/"}, "b": "10.0.0.1"}}));
        let all: Vec<_> = file.all().iter().map(|member| member.dashboard.as_deref()).collect();
        assert_eq!(all, [Some("https://a.example.com/ops/"), None]);
        for wrong in ["javascript:alert(1)", "http://", "https:///x", "http://user:secret@h/", "http://h/ x", "h:9616"] {
            let error = Hosts::of(&json!({"hosts": {"a": {"dashboard": wrong}}})).unwrap_err().to_string();
            assert!(error.starts_with("hosts.a: dashboard: ") && !error.contains("secret"), "{wrong}: {error}");
        }
        assert!(Hosts::of(&json!({"defaults": {"dashboard": "https://h/"}})).is_err());
    }

    #[test]
    fn host_settings_are_read() {
        let file = hosts(&json!({"hosts": {"a": {
            "host": "h", "key": "~/.ssh/k", "ssh_options": ["A=1", "B=2"], "forward_agent": true, "ostler": "~/o", "home": "/h",
        }, "here": "localhost", "there": {"host": "localhost", "port": 22}}}));
        let all = file.select(&["all"]).unwrap();
        let login = Login {
            host: Host { name: "h".into(), user: None, port: None },
            key: Some("~/.ssh/k".into()),
            options: vec!["A=1".into(), "B=2".into()],
            forward_agent: true,
        };
        assert_eq!(all[0], Member { name: "a".into(), login, program: Some("~/o".into()), home: Some("/h".into()), dashboard: None });
        assert_eq!(all.iter().map(Member::is_local).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn invalid_host_settings_are_reported_with_their_key() {
        for (value, word) in [
            (json!([]), "expected a table"),
            (json!({"hosts": 3}), "hosts"),
            (json!({"hosts": [3]}), "hosts"),
            (json!({"hosts": ["a", "a"]}), "twice"),
            (json!({"hosts": {"a": 3}}), "hosts.a"),
            (json!({"hosts": {"a": {"host": "-x"}}}), "hosts.a: host"),
            (json!({"hosts": {"a": {"user": "a;b"}}}), "hosts.a: user"),
            (json!({"hosts": {"a": {"port": 0}}}), "hosts.a: port"),
            (json!({"hosts": {"a": {"key": ["x"]}}}), "hosts.a: key"),
            (json!({"hosts": {"a": {"key": "x\ny"}}}), "hosts.a: key"),
            (json!({"hosts": {"a": {"ssh_options": {}}}}), "hosts.a: ssh_options"),
            (json!({"hosts": {"a": {"ostler": "-x"}}}), "hosts.a: ostler"),
            (json!({"hosts": {"a": {"home": ""}}}), "hosts.a: home"),
            (json!({"hosts": {"a": {"forward_agent": "yes"}}}), "hosts.a: forward_agent"),
            (json!({"hosts": {"all": null}}), "hosts.all"),
            (json!({"hosts": {"a,b": null}}), "hosts.a,b"),
            (json!({"hosts": {"a b": null}}), "hosts.a b"),
            (json!({"hosts": {"": "x"}}), "hosts."),
            (json!({"defaults": {"host": "x"}}), "defaults.host"),
            (json!({"defaults": []}), "defaults"),
            (json!({"groups": []}), "groups"),
            (json!({"groups": {"g": "a"}}), "groups.g"),
            (json!({"groups": {"g": ["a"]}}), "neither a host nor a group"),
            (json!({"hosts": ["a"], "groups": {"a": []}}), "groups.a"),
            (json!({"groups": {"all": []}}), "groups.all"),
            (json!({"groups": {"a": ["b"], "b": ["a"]}}), "contains itself"),
            (json!({"hosts": vec!["x"; MAX_HOSTS + 1]}), "too many"),
        ] {
            let error = Hosts::of(&value).unwrap_err().to_string();
            assert!(error.contains(word), "{error} ({word})");
        }
        let (_, unknown) = Hosts::of(&json!({"host": 1, "defaults": {"usr": 1}, "hosts": {"a": {"Port": 1}}})).unwrap();
        assert_eq!(unknown, ["host", "defaults.usr", "hosts.a.Port"]);
    }

    /// Each group occurs twice in the next group: 2^40 paths.
    #[test]
    fn nested_groups_resolve_without_exponential_time() {
        let mut groups = Map::new();
        groups.insert("g0".into(), json!(["a"]));
        for n in 1..40 {
            groups.insert(format!("g{n}"), json!([format!("g{}", n - 1), format!("g{}", n - 1)]));
        }
        let file = hosts(&json!({"hosts": ["a"], "groups": groups}));
        assert_eq!(file.select(&["g39"]).unwrap().len(), 1);
    }
}
