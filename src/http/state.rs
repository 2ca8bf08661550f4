//! What every handler can reach, and which listener a request came in by.

use std::sync::Arc;

use actix_web::HttpRequest;
use foldhash::fast::RandomState;
use ipnet::IpNet;
use isbot::Bots;
use tokio::sync::Semaphore;

use super::admin::Lockouts;
use super::error::ApiError;
use super::host;
use super::idle::Connections;
use super::metrics::Metrics;
use super::visitor::CookieKey;
use crate::clock::{Clock, Stopwatch};
use crate::config::{GatewaySettings, LinkSettings};
use crate::domain::decision::Cost;
use crate::domain::endpoint::EndpointName;
use crate::domain::key::KeyFormat;
use crate::domain::time::{Day, Timestamp};
use crate::domain::window::Window;
use crate::gate::{Access, Gate, Known};
use crate::idempotency::Idempotency;
use crate::recorder::Recorder;
use crate::secrets::Secret;
use crate::store::Store;
use crate::tokens::{Signer, Verifier};

/// What every handler can reach.
pub(crate) struct State {
    pub(crate) store: Arc<Store>,
    pub(crate) gate: Gate,
    pub(crate) idempotency: Idempotency,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key_format: KeyFormat,
    pub(crate) signer: Signer,
    pub(crate) verifier: Verifier,
    pub(crate) admin_token: Secret,
    pub(crate) lockouts: Lockouts,
    pub(crate) dumps: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) usage_reads: Arc<Semaphore>,
    pub(crate) usage_retention_days: u32,
    pub(crate) links: LinkSettings,
    pub(crate) cookie_key: CookieKey,
    pub(crate) gateway: Option<GatewaySettings>,
    /// Whose pages may call the public API.
    pub(crate) cors_origins: Vec<String>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) bots: Bots,
    pub(crate) agents: woothee::parser::Parser,
    /// Makes request ids of one start differ from those of another.
    pub(crate) boot_id: String,
    /// Hashes the count of requests, so that their ids do not tell it.
    pub(crate) request_numbers: RandomState,
}

impl State {
    /// Decides on a request that shows `key` and counts it if it passes; notes how long that took.
    pub(crate) async fn admit(
        &self,
        key: &[u8],
        access: Access,
        cost: Cost,
        endpoint: &EndpointName,
        now: Timestamp,
    ) -> Result<Known, ApiError> {
        let started = Stopwatch::start();
        let admitted = self.gate.admit(key, access, cost, endpoint, now).await;
        self.metrics.note_decision_us(started.elapsed_us());
        Ok(admitted?)
    }

    /// What short URLs begin with: as configured, or what the client called this server.
    pub(crate) fn base_url(&self, request: &HttpRequest) -> String {
        self.links.public_url.clone().unwrap_or_else(|| format!("http://{}", host::asked(request)))
    }

    /// Whether pages of other origins may call the public API.
    pub(crate) fn has_cors(&self) -> bool {
        !self.cors_origins.is_empty()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.links.public_url.as_ref().is_some_and(|url| url.starts_with("https://"))
    }

    /// The first hour whose usage is kept: that at the start of a UTC day.
    pub(crate) fn first_kept_usage(&self, now: Timestamp) -> Window {
        Window::at(Day::of(now).minus(self.usage_retention_days).start())
    }

    /// The first instant whose clicks are kept: the start of a UTC day.
    pub(crate) fn first_kept_click(&self, now: Timestamp) -> Timestamp {
        Day::of(now).minus(self.links.click_retention_days).start()
    }
}

/// Which listener a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Listener {
    Public,
    Admin,
}

impl Listener {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}
