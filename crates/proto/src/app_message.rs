//! Messages that apps send over their channels, for clients that listen.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppMessage {
    /// Time, in ms of the wall clock.
    pub at_ms: u64,
    /// Name of the app.
    pub app: String,
    /// `pm_id` of the instance.
    pub id: u32,
    /// Its topic.
    pub topic: String,
    /// Data of the message, unchanged.
    pub data: Value,
}
