//! What must be done from time to time, on a thread of its own: purging counters of past hours, clicks and usage of past
//! months and expired answers, and writing last uses of keys. Requests neither do it nor wait for it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::background::{Background, Stop};
use crate::clock::Clock;
use crate::domain::id::{AccountId, LinkId};
use crate::domain::time::Day;
use crate::domain::window::Window;
use crate::store::{LAST_USES_PER_STEP, Store, StoreError};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Last uses of keys are on disk within so many rounds, a minute, and a flush interval. Each costs a write per key: with
/// 20,000 keys in use and one a second, that was as much CPU as all of their requests.
const ROUNDS_PER_LAST_USED: u32 = 60;
/// Steps of writing last uses in a round, 2,000 of them and a fiftieth of a core's time: where more than 120,000 keys are
/// in use, each has to wait for longer than a minute, and not all others for it.
const LAST_USE_STEPS: usize = 20;
/// Links that are looked at in a round: a million links are gone round in 17 minutes.
const LINKS_PER_ROUND: usize = 1000;
/// Accounts whose usage is looked at in a round, likewise.
const ACCOUNTS_PER_ROUND: usize = 1000;
/// Between two steps. One of counters takes about as long: however many there are, half of a core's time is left.
const PAUSE: Duration = Duration::from_millis(1);

/// How many days things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Clicks.
    pub click_days: u32,
    /// Usage.
    pub usage_days: u32,
}

/// The running thread; it ends when this is stopped or dropped.
pub struct Housekeeping(Background);

impl Housekeeping {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(store: Arc<Store>, clock: Arc<dyn Clock>, retention: Retention) -> std::io::Result<Self> {
        let thread = Background::start("housekeeping", move |stop| {
            let mut links = LinkWalk { click_retention_days: retention.click_days, after: None };
            let mut usage = UsageWalk { retention_days: retention.usage_days, after: None };
            let mut rounds: u32 = 0;
            while !stop.sleep(ROUND) {
                let clock = clock.as_ref();
                rounds = rounds.wrapping_add(1);
                if rounds.is_multiple_of(ROUNDS_PER_LAST_USED) {
                    store.gather_last_uses();
                }
                // Damage that stops one of them stops no other.
                let done = [
                    write_last_uses(&store, stop),
                    purge_counters(&store, clock, stop),
                    purge_answers(&store, clock, stop),
                    links.walk(&store, clock, stop),
                    usage.walk(&store, clock, stop),
                ];
                for error in done.into_iter().filter_map(Result::err) {
                    tracing::error!(error = &error as &dyn Error, "housekeeping failed; it is tried again");
                }
            }
        })?;
        Ok(Self(thread))
    }

    /// Ends the thread and waits for its end.
    pub fn stop(&mut self) {
        self.0.stop();
    }
}

fn write_last_uses(store: &Store, stop: &Stop) -> Result<(), StoreError> {
    for _step in 0..LAST_USE_STEPS {
        if !store.write_last_uses(LAST_USES_PER_STEP)? || stop.sleep(PAUSE) {
            break;
        }
    }
    Ok(())
}

/// Keeps the running hour and the one before: a clock that steps back a little finds its counters.
fn purge_counters(store: &Store, clock: &dyn Clock, stop: &Stop) -> Result<(), StoreError> {
    let first_kept = Window::at(clock.now()).previous();
    while store.purge_counters_step(first_kept)? {
        if stop.sleep(PAUSE) {
            return Ok(());
        }
    }
    Ok(())
}

fn purge_answers(store: &Store, clock: &dyn Clock, stop: &Stop) -> Result<(), StoreError> {
    let now = clock.now();
    while store.purge_kept_step(now)? {
        if stop.sleep(PAUSE) {
            return Ok(());
        }
    }
    Ok(())
}

/// Goes round all links, some of them each round, and purges what they need not keep.
struct LinkWalk {
    click_retention_days: u32,
    after: Option<LinkId>,
}

impl LinkWalk {
    fn walk(&mut self, store: &Store, clock: &dyn Clock, stop: &Stop) -> Result<(), StoreError> {
        while store.purge_doomed_step()? {
            if stop.sleep(PAUSE) {
                return Ok(());
            }
        }
        let first_kept = Day::of(clock.now()).minus(self.click_retention_days).start();
        let page = store.link_ids_after(self.after, LINKS_PER_ROUND)?;
        for &link in &page.items {
            while store.purge_clicks_step(link, first_kept)? {
                if stop.sleep(PAUSE) {
                    return Ok(());
                }
            }
        }
        self.after = page.items.last().copied().filter(|_last| page.has_more);
        Ok(())
    }
}

/// Goes round all accounts that have usage, some of them each round, and purges what it need not keep: also all of an
/// account that was removed, should its removal have been interrupted.
struct UsageWalk {
    retention_days: u32,
    after: Option<AccountId>,
}

impl UsageWalk {
    fn walk(&mut self, store: &Store, clock: &dyn Clock, stop: &Stop) -> Result<(), StoreError> {
        let first_kept = Window::at(Day::of(clock.now()).minus(self.retention_days).start());
        for _account in 0..ACCOUNTS_PER_ROUND {
            self.after = store.next_account_with_usage(self.after)?;
            let Some(account) = self.after else { break };
            while store.purge_usage_step(account, first_kept)? {
                if stop.sleep(PAUSE) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
