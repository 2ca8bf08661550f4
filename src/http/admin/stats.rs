//! Statistics: counts, sizes, and who is busy.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::domain::decision::Used;
use crate::domain::endpoint::EndpointName;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::time::Timestamp;
use crate::domain::usage::Tally;
use crate::domain::window::Window;
use crate::http::error::ApiError;
use crate::http::{State, block, resource, usage_views};
use crate::store::{Store, StoreError, unless_refused};

/// Entries of each list.
const TOP: usize = 10;
/// Accounts of whose usage the lists of keys and endpoints are made: enough that nobody is missing who matters, and a
/// bound on the rows that are read.
const BUSIEST: usize = 100;

pub(super) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(resource("/stats", "GET, HEAD", [web::get().to(stats), web::head().to(stats)]));
}

#[derive(Serialize)]
struct StatsView {
    plans: usize,
    accounts: usize,
    keys: usize,
    disk_bytes: u64,
    commits: u64,
    commit_failures: u64,
    hour: HourView,
}

#[derive(Serialize)]
struct HourView {
    start: String,
    active_accounts: u64,
    used: u64,
    top_accounts: Vec<TopAccount>,
    top_keys: Vec<TopKey>,
    top_endpoints: Vec<TopEndpoint>,
}

#[derive(Serialize)]
struct TopAccount {
    account_id: String,
    used: u32,
}

#[derive(Serialize)]
struct TopKey {
    account_id: String,
    key_id: String,
    used: u64,
}

#[derive(Serialize)]
struct TopEndpoint {
    endpoint: String,
    used: u64,
}

async fn stats(state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let now = state.clock.now();
    let view = block(move || gather(&state.store, now));
    Ok(HttpResponse::Ok().json(view.await?))
}

/// Reads every counter of the running hour, and the usage of the busiest accounts, on the blocking pool.
fn gather(store: &Store, now: Timestamp) -> Result<StatsView, StoreError> {
    let (totals, window) = (store.stats()?, Window::at(now));
    let (mut active_accounts, mut used) = (0_u64, 0_u64);
    let mut busiest = BinaryHeap::new();
    for counter in store.counters_in(window) {
        let counter = counter?;
        if counter.used == Used::default() {
            // An operator set it back.
            continue;
        }
        active_accounts = active_accounts.saturating_add(1);
        used = used.saturating_add(u64::from(counter.used.as_units()));
        busiest.push(Reverse((counter.used, Reverse(counter.account_id))));
        if busiest.len() > BUSIEST {
            busiest.pop();
        }
    }
    let busiest: Vec<(Used, AccountId)> =
        busiest.into_sorted_vec().into_iter().map(|Reverse((used, Reverse(account)))| (used, account)).collect();
    let (top_keys, top_endpoints) = top_usage(store, window, busiest.iter().map(|(_used, account)| *account))?;
    let top_accounts = busiest.iter().take(TOP);
    let top_accounts = top_accounts
        .map(|(used, account_id)| TopAccount { account_id: account_id.to_string(), used: used.as_units() })
        .collect();
    Ok(StatsView {
        plans: totals.plans,
        accounts: totals.accounts,
        keys: totals.keys,
        disk_bytes: totals.disk_bytes,
        commits: totals.commits,
        commit_failures: totals.commit_failures,
        hour: HourView {
            start: window.start().to_string(),
            active_accounts,
            used,
            top_accounts,
            top_keys,
            top_endpoints,
        },
    })
}

/// Of the accounts that are named, the keys and endpoints that used most.
fn top_usage(
    store: &Store,
    window: Window,
    accounts: impl Iterator<Item = AccountId>,
) -> Result<(Vec<TopKey>, Vec<TopEndpoint>), StoreError> {
    let mut keys: BTreeMap<(AccountId, KeyId), Tally> = BTreeMap::new();
    let mut endpoints: BTreeMap<EndpointName, Tally> = BTreeMap::new();
    for account in accounts {
        unless_refused(store.fold_usage_of(account))?;
        for row in store.usage_of(account, window, window.plus(1)) {
            let row = row?;
            keys.entry((account, row.spender.key_id)).or_default().add(&row.tally);
            endpoints.entry(row.endpoint).or_default().add(&row.tally);
        }
    }
    let keys = usage_views::sorted(keys).into_iter().take(TOP).map(|((account_id, key_id), tally)| TopKey {
        account_id: account_id.to_string(),
        key_id: key_id.to_string(),
        used: tally.used,
    });
    let endpoints = usage_views::sorted(endpoints).into_iter().take(TOP);
    let endpoints = endpoints.map(|(endpoint, tally)| TopEndpoint { endpoint: endpoint.to_string(), used: tally.used });
    Ok((keys.collect(), endpoints.collect()))
}
