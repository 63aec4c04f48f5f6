//! Entries of `jlist`.

use serde_json::Value;

/// One entry of `jlist`.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedApp(pub Value);

impl ListedApp {
    /// Parses the output of `jlist`. Notices may precede the JSON, which is the last line.
    #[track_caller]
    pub fn parse_list(stdout: &str) -> Vec<Self> {
        let json = stdout.lines().rfind(|line| line.starts_with('[') && !line.starts_with("[PM2]") && !line.starts_with("[ostler]"));
        let json = json.unwrap_or_else(|| panic!("jlist printed no JSON array but {stdout:?}"));
        let list: Vec<Value> = serde_json::from_str(json).unwrap_or_else(|error| panic!("jlist is not JSON ({error}): {stdout:?}"));
        list.into_iter().map(Self).collect()
    }

    /// Returns `pm_id`.
    pub fn id(&self) -> u64 {
        self.0["pm_id"].as_u64().unwrap_or_else(|| panic!("no pm_id in {}", self.0))
    }

    /// Returns the pid of the main process, or 0 if it does not run.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0["pid"].as_i64().unwrap_or(0)).unwrap()
    }

    /// Returns the app name.
    pub fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// Returns a key of `pm2_env`; `Null` if it is missing.
    pub fn env(&self, key: &str) -> &Value {
        &self.0["pm2_env"][key]
    }

    /// Returns a text of `pm2_env`; empty if it is missing.
    pub fn text(&self, key: &str) -> &str {
        self.env(key).as_str().unwrap_or_default()
    }

    /// Returns a number of `pm2_env`.
    #[track_caller]
    pub fn number(&self, key: &str) -> u64 {
        self.env(key).as_u64().unwrap_or_else(|| panic!("pm2_env.{key} is {} instead of a number", self.env(key)))
    }

    /// Returns the status word.
    pub fn status(&self) -> &str {
        self.text("status")
    }

    /// Returns `restart_time`.
    #[track_caller]
    pub fn restarts(&self) -> u64 {
        self.number("restart_time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_before_the_json_are_skipped() {
        let text = "[PM2] Spawning PM2 daemon with pm2_home=/x\n[PM2] PM2 Successfully daemonized\n[{\"pid\":7,\"name\":\"a\",\"pm_id\":3,\"pm2_env\":{\"status\":\"online\",\"restart_time\":2}}]";
        let items = ListedApp::parse_list(text);
        assert_eq!((items[0].id(), items[0].pid(), items[0].status(), items[0].restarts()), (3, 7, "online", 2));
        assert_eq!(ListedApp::parse_list("[]"), []);
    }
}
