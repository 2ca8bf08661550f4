//! Lines of usage.

use serde::{Deserialize, Serialize};

use super::lines::field;
use crate::domain::endpoint::EndpointName;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::time::Timestamp;
use crate::domain::usage::{BUCKETS, Latency, Spender, Tally, UsageRow};
use crate::domain::window::Window;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageLine {
    account_id: String,
    hour: String,
    key_id: String,
    endpoint: String,
    used: u64,
    denied: u64,
    errors: u64,
    /// Counted answers by the time that they took, see `BUCKET_ENDS_MS`.
    latency: [u64; BUCKETS],
}

impl From<&UsageRow> for UsageLine {
    fn from(row: &UsageRow) -> Self {
        let UsageRow { spender, endpoint, tally } = row;
        Self {
            account_id: spender.account_id.to_string(),
            hour: spender.window.start().to_string(),
            key_id: spender.key_id.to_string(),
            endpoint: endpoint.to_string(),
            used: tally.used,
            denied: tally.denied,
            errors: tally.errors,
            latency: tally.latency.0,
        }
    }
}

impl UsageLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<UsageRow, String> {
        let spender = Spender {
            account_id: field("account_id", AccountId::parse(&self.account_id))?,
            window: field("hour", Timestamp::parse(&self.hour).and_then(Window::starting))?,
            key_id: field("key_id", KeyId::parse(&self.key_id))?,
        };
        let endpoint = field("endpoint", EndpointName::parse(&self.endpoint))?;
        let Self { used, denied, errors, latency, .. } = *self;
        Ok(UsageRow { spender, endpoint, tally: Tally { used, denied, errors, latency: Latency(latency) } })
    }
}
