//! What a decision costs in process, from the pure rule to the whole gate.
//!
//! `cargo bench --bench gate` prints the times. The store is real, in a temporary directory.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a bench that cannot be set up should stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use klinky::accounts::{self, AccountDraft};
use klinky::clock::SystemClock;
use klinky::domain::account::{Account, Terms};
use klinky::domain::decision::{Cost, Limit, Used, decide};
use klinky::domain::endpoint::EndpointName;
use klinky::domain::id::AccountId;
use klinky::domain::key::{KeyFormat, Scope};
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::domain::time::Timestamp;
use klinky::domain::window::Window;
use klinky::gate::{Access, Gate};
use klinky::keys::{self, KeyDraft};
use klinky::plans::first_plans;
use klinky::store::{AccountCounter, Author, Store, StoreOptions};
use klinky::usage::UsageWriter;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

const NO_LIMIT: Limit = Limit::new(u32::MAX);
const FLUSH_WITHIN: Duration = Duration::from_millis(100);
const SPREAD: u32 = 100_000;
/// Accounts of the whole gate, each with a key: durable writes, so a bench does not make a million.
const HOLDERS: usize = 2_000;

fn open(dir: &tempfile::TempDir) -> Arc<Store> {
    let options = StoreOptions { dir: dir.path().to_owned(), flush_within: FLUSH_WITHIN };
    Arc::new(Store::open(&options, &first_plans().unwrap()).unwrap())
}

fn now() -> Timestamp {
    Timestamp::parse("2026-01-15T14:30:00Z").unwrap()
}

/// Fills the store with accounts; their counters.
fn counters(store: &Store) -> Vec<AccountCounter> {
    let by = by();
    let restore = store.start_restore(&by).unwrap();
    let plans = first_plans().unwrap();
    plans.iter().for_each(|plan| restore.put_plan(plan).unwrap());
    let ids: Vec<AccountId> = (0..SPREAD).map(|n| AccountId::from_bytes(u128::from(n).to_be_bytes())).collect();
    for &id in &ids {
        let terms = Terms::on(PlanId::new("scale").unwrap());
        let name = Name::new("bench").unwrap();
        restore.put_account(&Account { id, name, email: None, terms, created_at: now(), updated_at: now() }).unwrap();
    }
    restore.finish().unwrap();
    ids.into_iter().map(|id| store.find_counter(id).unwrap().unwrap()).collect()
}

fn by() -> Author {
    Author { actor: "bench".to_owned(), request_id: "-".to_owned(), at: now() }
}

fn rule(c: &mut Criterion) {
    c.bench_function("decide", |b| {
        b.iter(|| decide(black_box(NO_LIMIT), black_box(Used::new(7)), black_box(Cost::ONE)));
    });
    let format = KeyFormat::new("klinky").unwrap();
    let key = b"klinky_live_09IRajs1AJSbkt2BKTclu3CLUd3mQ4Tc";
    c.bench_function("key: checksum and hash", |b| b.iter(|| format.hash(black_box(key)).unwrap()));
}

fn take(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let window = Window::at(now());
    let counters = counters(&store);
    let hot = counters.first().unwrap();
    c.bench_function("take: one hot account", |b| {
        b.iter(|| store.take(hot, window, NO_LIMIT, Cost::ONE).unwrap());
    });
    for counter in &counters {
        store.take(counter, window, NO_LIMIT, Cost::ONE).unwrap();
    }
    let mut rng = StdRng::seed_from_u64(1);
    c.bench_function("take: 100k accounts", |b| {
        b.iter_batched(
            || counters.choose(&mut rng).unwrap(),
            |counter| store.take(counter, window, NO_LIMIT, Cost::ONE).unwrap(),
            BatchSize::SmallInput,
        );
    });
    c.bench_function("take: denied", |b| {
        b.iter(|| store.take(hot, window, Limit::new(0), Cost::ONE).unwrap());
    });
}

fn gate(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let format = KeyFormat::new("klinky").unwrap();
    let secrets = holders(&store, &format);
    let _writer = UsageWriter::start(Arc::clone(&store), Arc::new(SystemClock), FLUSH_WITHIN).unwrap();
    let gate = Gate::new(store, format);
    let endpoint = EndpointName::of_route("GET", "/public/links");
    let admit = |key: &str| {
        gate.admit(key.as_bytes(), Access::Read, Cost::ONE, &endpoint, now()).now_or_never().unwrap().unwrap()
    };
    let hot = secrets.first().unwrap();
    c.bench_function("gate: one hot account", |b| b.iter(|| admit(hot)));
    let mut rng = StdRng::seed_from_u64(1);
    c.bench_function("gate: 2000 accounts", |b| {
        b.iter_batched(|| secrets.get(rng.random_range(0..HOLDERS)).unwrap(), |key| admit(key), BatchSize::SmallInput);
    });
}

fn holders(store: &Store, format: &KeyFormat) -> Vec<String> {
    let by = by();
    let name = || Name::new("bench").unwrap();
    let one = || {
        let draft = AccountDraft {
            name: name(),
            email: None,
            plan: PlanId::new("scale").unwrap(),
            custom_limit: Some(NO_LIMIT),
            trial: None,
        };
        let account = accounts::create(store, draft, &by).unwrap();
        let draft = KeyDraft { name: name(), scope: Scope::ReadWrite, expires_at: None };
        keys::issue(store, format, account.id, draft, &by).unwrap().secret.reveal().to_owned()
    };
    (0..HOLDERS).map(|_| one()).collect()
}

criterion_group!(benches, rule, take, gate);
criterion_main!(benches);
