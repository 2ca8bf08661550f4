//! An account's counters: one for each hour and each limit that is tried.

use crate::config::Tried;
use crate::domain::decision::{Cost, Decision, Used, decide};
use crate::domain::window::Window;

/// What one account did, and what would have been denied it.
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) units: u64,
    /// In the order of what is tried, as below.
    pub(super) denied: Box<[u64]>,
    /// Sorted. Most accounts of a large log have few hours, for which a tree would take several times as much memory.
    hours: Vec<(Window, Hour)>,
}

struct Hour {
    /// All that was asked for.
    units: Used,
    used: Box<[Used]>,
}

impl Tally {
    pub(super) fn new(tried: &[Tried]) -> Self {
        Self { requests: 0, units: 0, denied: vec![0; tried.len()].into(), hours: Vec::with_capacity(1) }
    }

    pub(super) fn count(&mut self, tried: &[Tried], window: Window, cost: Cost) {
        self.requests = self.requests.saturating_add(1);
        self.units = self.units.saturating_add(u64::from(cost.as_units()));
        let at = self.hours.binary_search_by_key(&window, |(of, _hour)| *of).unwrap_or_else(|at| {
            self.hours.insert(at, (window, Hour::new(tried)));
            at
        });
        if let Some((_window, hour)) = self.hours.get_mut(at) {
            hour.count(tried, cost, &mut self.denied);
        }
    }

    /// The first of the hours with the most units; there is one, since a tally is made for a request.
    pub(super) fn busiest(&self) -> (Window, Used) {
        let hours = self.hours.iter().map(|(window, hour)| (*window, hour.units));
        hours.rev().max_by_key(|(_window, units)| *units).unwrap_or((Window::from_hours(0), Used::default()))
    }
}

impl Hour {
    fn new(tried: &[Tried]) -> Self {
        Self { units: Used::default(), used: vec![Used::default(); tried.len()].into() }
    }

    fn count(&mut self, tried: &[Tried], cost: Cost, denied: &mut [u64]) {
        self.units = self.units.plus(cost);
        for ((tried, used), denied) in tried.iter().zip(&mut self.used).zip(denied) {
            match decide(tried.limit, *used, cost) {
                Decision::Allowed(after) => *used = after,
                Decision::Denied => *denied = denied.saturating_add(1),
            }
        }
    }
}
