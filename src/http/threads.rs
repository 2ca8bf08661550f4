//! The threads that work beside the requests: their start and stop.

use std::sync::Arc;

use super::ServeError;
use super::idle::Connections;
use crate::background::Background;
use crate::backups::Backups;
use crate::clock::Clock;
use crate::config::ServeSettings;
use crate::housekeeping::{Housekeeping, Retention};
use crate::recorder::Recorder;
use crate::store::Store;
use crate::usage::UsageWriter;

/// All of them.
pub(super) struct Threads {
    store: Arc<Store>,
    pub(super) backups: Option<Backups>,
    pub(super) recorder: Arc<Recorder>,
    housekeeping: Housekeeping,
    usage: UsageWriter,
    _idle: Background,
}

impl Threads {
    /// Starts those that the settings ask for.
    pub(super) fn start(
        settings: &ServeSettings,
        clock: &Arc<dyn Clock>,
        store: &Arc<Store>,
        connections: &Arc<Connections>,
    ) -> Result<Self, ServeError> {
        let retention =
            Retention { click_days: settings.links.click_retention_days, usage_days: settings.usage_retention_days };
        let housekeeping = Housekeeping::start(Arc::clone(store), Arc::clone(clock), retention);
        let start_backups = |settings| Backups::start(Arc::clone(store), Arc::clone(clock), settings);
        let usage = UsageWriter::start(Arc::clone(store), Arc::clone(clock), settings.flush_within);
        Ok(Self {
            store: Arc::clone(store),
            housekeeping: housekeeping.map_err(ServeError::System)?,
            backups: settings.backups.clone().map(start_backups).transpose()?,
            recorder: Arc::new(Recorder::start(Arc::clone(store)).map_err(ServeError::System)?),
            usage: usage.map_err(ServeError::System)?,
            _idle: connections.watch().map_err(ServeError::System)?,
        })
    }

    /// Ends them; what they have gathered is in the store then. Blocks.
    pub(super) fn stop(&mut self) {
        self.backups.iter_mut().for_each(Backups::stop);
        self.housekeeping.stop();
        self.recorder.stop();
        self.usage.stop();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Some wait until all of it is read, and who drops them waits for their end.
        self.store.stop_opening();
    }
}
