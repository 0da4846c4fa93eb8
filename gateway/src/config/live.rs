//! The settings of the running process as `/api/config` shows them.

use serde::{Deserialize, Serialize};

use super::Setting;

/// What `GET /api/config` answers with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The gateway's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: String,
    /// Its live settings.
    pub settings: Vec<RunningSetting>,
}

/// A [`Setting`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningSetting {
    /// Its path.
    pub path: String,
    /// Its value; secrets are `[set]`.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

impl From<&Setting> for RunningSetting {
    fn from(setting: &Setting) -> Self {
        Self { path: setting.path.clone(), value: setting.value.clone(), origin: setting.origin.to_string() }
    }
}
