//! A day in the life of a gate, by a seed: clients that come in bursts, an operator who changes terms,
//! a clock that runs, jumps and steps back, restarts. What must hold holds after every step.
//!
//! It prints its seed. `KLINKY_SEED=<n>` runs one again, `KLINKY_STEPS=<n>` makes it longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use klinky::accounts::{self, AccountDraft};
use klinky::domain::account::AccountPatch;
use klinky::domain::decision::{Cost, Limit};
use klinky::domain::endpoint::EndpointName;
use klinky::domain::id::AccountId;
use klinky::domain::key::{KeyFormat, Scope};
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::domain::time::Timestamp;
use klinky::domain::window::Window;
use klinky::gate::{Access, Gate, Refusal, Stop};
use klinky::keys::{self, KeyDraft};
use klinky::store::{Author, Store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::harness::{START, at};
use crate::store::open;

/// So long that no request waits for a commit, however busy the machine is.
const FLUSH: Duration = Duration::from_secs(3600);
const STEPS: u32 = 4000;
const ACCOUNTS: usize = 6;

struct Simulation {
    rng: StdRng,
    dir: TempDir,
    store: Arc<Store>,
    format: KeyFormat,
    now: Timestamp,
    accounts: Vec<(AccountId, Vec<String>)>,
    /// What clients were granted.
    granted: BTreeMap<(AccountId, Window), u64>,
    /// The largest limit that a standing named.
    largest_limit: BTreeMap<(AccountId, Window), u64>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut simulation = Self {
            rng: StdRng::seed_from_u64(seed),
            store: Arc::new(open(dir.path(), FLUSH)),
            dir,
            format: KeyFormat::new("klinky").unwrap(),
            now: at(START),
            accounts: Vec::new(),
            granted: BTreeMap::new(),
            largest_limit: BTreeMap::new(),
        };
        for _ in 0..ACCOUNTS {
            simulation.add_account();
        }
        simulation
    }

    fn by(&self) -> Author {
        Author { actor: "simulation".to_owned(), request_id: "-".to_owned(), at: self.now }
    }

    fn add_account(&mut self) {
        let draft = AccountDraft {
            name: Name::new("simulated").unwrap(),
            email: None,
            plan: PlanId::new("growth").unwrap(),
            custom_limit: None,
            trial: None,
        };
        let id = accounts::create(&self.store, draft, &self.by()).unwrap().id;
        let keys = (0..3)
            .map(|_| {
                let draft =
                    KeyDraft { name: Name::new("simulated").unwrap(), scope: Scope::ReadWrite, expires_at: None };
                let issued = keys::issue(&self.store, &self.format, id, draft, &self.by()).unwrap();
                issued.secret.reveal().to_owned()
            })
            .collect();
        self.accounts.push((id, keys));
    }

    fn step(&mut self) {
        match self.rng.random_range(0..1000) {
            0..900 => self.request(),
            900..920 => self.run_clock(),
            920..935 => self.change_terms(),
            935..970 => self.store.write_usage().unwrap(),
            970..985 => self.store.fold_usage(Window::at(self.now)).unwrap(),
            985..995 => self.look_at_usage(),
            _ => self.restart(),
        }
    }

    fn request(&mut self) {
        let (account, keys) = &self.accounts[self.rng.random_range(0..ACCOUNTS)];
        let key = &keys[self.rng.random_range(0..keys.len())];
        let cost = if self.rng.random_bool(0.9) { 1 } else { self.rng.random_range(1..=40) };
        let gate = Gate::new(Arc::clone(&self.store), self.format.clone());
        let endpoint = EndpointName::of_route("GET", ["/a", "/b", "/c"][self.rng.random_range(0..3)]);

        let cost = Cost::new(cost).unwrap();
        let admitted = gate.admit(key.as_bytes(), Access::Write, cost, &endpoint, self.now).now_or_never().unwrap();

        let slot = (*account, Window::at(self.now));
        let granted = self.granted.entry(slot).or_insert(0);
        let standing = match admitted {
            Ok(known) => {
                *granted += u64::from(cost.as_units());
                known.standing
            }
            Err(Refusal::Stopped(known, Stop::LimitReached)) => {
                let limit = u64::from(known.standing.limit.as_units());
                let wanted = u64::from(cost.as_units());
                assert!(*granted + wanted > limit, "denied {wanted} with {granted} of {limit} granted");
                known.standing
            }
            Err(other) => panic!("a valid key of an account with access was refused: {other}"),
        };
        assert_eq!(u64::from(standing.used.as_units()), *granted, "the standing is not what was granted");
        let limit = u64::from(standing.limit.as_units());
        assert_eq!(u64::from(standing.remaining()), limit.saturating_sub(*granted));
        let largest = self.largest_limit.entry(slot).or_insert(0);
        *largest = limit.max(*largest);
        assert!(*granted <= *largest, "granted {granted}, and the limit was never above {largest}");
    }

    /// Mostly on by some minutes, sometimes back, sometimes far ahead.
    fn run_clock(&mut self) {
        let minutes: i64 = match self.rng.random_range(0..10) {
            0..7 => self.rng.random_range(0..20),
            7..9 => -self.rng.random_range(0..45),
            _ => self.rng.random_range(0..600),
        };
        self.now = Timestamp::from_millis(self.now.as_millis() + minutes * 60_000).unwrap();
    }

    fn change_terms(&mut self) {
        let (account, _keys) = self.accounts[self.rng.random_range(0..ACCOUNTS)].clone();
        let limit = [None, Some(0), Some(50), Some(200), Some(u32::MAX)][self.rng.random_range(0..5)];
        let patch = AccountPatch { custom_limit: Some(limit.map(Limit::new)), ..AccountPatch::default() };
        self.store.update_account(account, patch, &self.by()).unwrap();
    }

    /// As whoever looks at an account's usage does: what is noted is written to rows.
    fn look_at_usage(&mut self) {
        let (account, _keys) = self.accounts[self.rng.random_range(0..ACCOUNTS)].clone();
        self.store.fold_usage_of(account).unwrap();
        self.assert_usage(account);
    }

    fn assert_usage(&self, account: AccountId) {
        for ((_, window), granted) in self.granted.iter().filter(|((of, _), _granted)| *of == account) {
            let rows = self.store.usage_of(account, *window, window.plus(1));
            let used: u64 = rows.map(|row| row.unwrap().tally.used).sum();
            assert_eq!(used, *granted, "usage of {account} in {window:?}");
        }
    }

    fn restart(&mut self) {
        self.store.close().unwrap();
        let old =
            std::mem::replace(&mut self.store, Arc::new(open(tempfile::tempdir().unwrap().path(), Duration::ZERO)));
        drop(old);
        self.store = Arc::new(open(self.dir.path(), FLUSH));
    }
}

#[test]
fn whatever_happens_clients_are_granted_what_their_terms_allow() {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.into_string().unwrap());
    let seed = variable("KLINKY_SEED").map_or_else(rand::random, |seed| seed.parse().unwrap());
    let steps = variable("KLINKY_STEPS").map_or(STEPS, |steps| steps.parse().unwrap());
    println!("KLINKY_SEED={seed}");
    let mut simulation = Simulation::new(seed);

    for _ in 0..steps {
        simulation.step();
    }

    assert!(simulation.granted.values().sum::<u64>() > 0);
    for ((account, window), granted) in &simulation.granted {
        assert_eq!(u64::from(simulation.store.used(*account, *window).unwrap().as_units()), *granted);
    }
    simulation.store.fold_all_usage().unwrap();
    simulation.accounts.iter().for_each(|(account, _keys)| simulation.assert_usage(*account));
}
