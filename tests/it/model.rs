//! The store against a model: random operations, restarts among them, must agree in every answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use klinky::accounts::{self, AccountDraft};
use klinky::domain::account::{AccountPatch, Trial};
use klinky::domain::decision::{Cost, Decision, Limit, Used};
use klinky::domain::id::{AccountId, KeyId};
use klinky::domain::key::{KeyFormat, KeyHash, Scope};
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::domain::time::Timestamp;
use klinky::domain::window::Window;
use klinky::keys::{self, Grace, KeyDraft};
use klinky::store::{Author, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};

use crate::crash::BLOCK_REST_MAX;
use crate::harness::{START, at};
use crate::store::open;

/// One operation. Accounts and keys are named by their place in the order of creation.
#[derive(Debug, Clone)]
enum Op {
    CreateAccount { plan: usize },
    UpdateAccount { account: usize, plan: usize, custom: Option<u32>, trial_mins: Option<u64>, suspended: bool },
    RemoveAccount { account: usize },
    CreateKey { account: usize, life_mins: Option<u64> },
    RevokeKey { key: usize },
    RotateKey { key: usize, grace_mins: u64 },
    Take { key: usize, cost: u32 },
    SetUsed { account: usize, used: u32 },
    MoveClock { minutes: i64 },
    Restart { cleanly: bool },
}

const PLANS: [(&str, bool, u32); 4] =
    [("free", false, 0), ("starter", false, 0), ("growth", true, 100), ("scale", true, 1000)];

fn op() -> impl Strategy<Value = Op> {
    let (account, key, plan) = (0..4_usize, 0..8_usize, 0..PLANS.len());
    prop_oneof![
        2 => plan.clone().prop_map(|plan| Op::CreateAccount { plan }),
        3 => (
            account.clone(),
            plan,
            prop_oneof![Just(None), Just(Some(0)), Just(Some(2)), Just(Some(u32::MAX))],
            prop::option::of(1..90_u64),
            prop::bool::weighted(0.1),
        )
            .prop_map(|(account, plan, custom, trial_mins, suspended)| {
                Op::UpdateAccount { account, plan, custom, trial_mins, suspended }
            }),
        1 => account.clone().prop_map(|account| Op::RemoveAccount { account }),
        3 => (account.clone(), prop::option::of(1..90_u64))
            .prop_map(|(account, life_mins)| Op::CreateKey { account, life_mins }),
        1 => key.clone().prop_map(|key| Op::RevokeKey { key }),
        1 => (key.clone(), 0..90_u64).prop_map(|(key, grace_mins)| Op::RotateKey { key, grace_mins }),
        12 => (key, prop_oneof![Just(1), Just(60), Just(1000)]).prop_map(|(key, cost)| Op::Take { key, cost }),
        1 => (account, prop_oneof![Just(0), Just(99), Just(u32::MAX)]).prop_map(|(account, used)| Op::SetUsed { account, used }),
        2 => (-70..70_i64).prop_map(|minutes| Op::MoveClock { minutes }),
        1 => any::<bool>().prop_map(|cleanly| Op::Restart { cleanly }),
    ]
}

#[derive(Debug, Clone)]
struct ModelAccount {
    id: AccountId,
    plan: usize,
    custom: Option<u32>,
    trial_until: Option<Timestamp>,
    suspended: bool,
}

#[derive(Debug, Clone)]
struct ModelKey {
    id: KeyId,
    account: AccountId,
    hash: KeyHash,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked: bool,
    rotated: bool,
}

impl ModelKey {
    fn is_live(&self, now: Timestamp) -> bool {
        !self.revoked && self.expires_at.is_none_or(|end| now < end)
    }
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    accounts: Vec<ModelAccount>,
    keys: Vec<ModelKey>,
    used: BTreeMap<(AccountId, Window), u64>,
}

impl ModelAccount {
    /// The rule of the contract, written once more and in other words.
    fn limit(&self, now: Timestamp) -> Option<u64> {
        let (_name, mut access, plan_limit) = PLANS[self.plan];
        let mut limit = self.custom.unwrap_or(plan_limit);
        if self.trial_until.is_some_and(|end| now < end) {
            access = true;
            limit = limit.max(100);
        }
        access.then_some(u64::from(limit))
    }
}

fn minutes(mins: u64) -> Duration {
    Duration::from_secs(mins * 60)
}

struct Run<'d> {
    dir: &'d Path,
    store: Option<Store>,
    model: Model,
    now: Timestamp,
    format: KeyFormat,
}

impl Run<'_> {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn by(&self) -> Author {
        Author { actor: "model".to_owned(), request_id: "-".to_owned(), at: self.now }
    }

    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match *op {
            Op::CreateAccount { plan } => self.create_account(plan),
            Op::UpdateAccount { account, plan, custom, trial_mins, suspended } => {
                self.update_account(account, plan, custom, trial_mins, suspended);
            }
            Op::RemoveAccount { account } => self.remove_account(account),
            Op::CreateKey { account, life_mins } => self.create_key(account, life_mins),
            Op::RevokeKey { key } => self.revoke_key(key),
            Op::RotateKey { key, grace_mins } => self.rotate(key, grace_mins)?,
            Op::Take { key, cost } => self.take(key, cost)?,
            Op::SetUsed { account, used } => self.set_used(account, used),
            Op::MoveClock { minutes } => {
                self.now = Timestamp::from_millis(self.now.as_millis() + minutes * 60_000).unwrap();
            }
            Op::Restart { cleanly } => self.restart(cleanly)?,
        }
        Ok(())
    }

    fn create_account(&mut self, plan: usize) {
        let draft = AccountDraft {
            name: Name::new("model").unwrap(),
            email: None,
            plan: PlanId::new(PLANS[plan].0).unwrap(),
            custom_limit: None,
            trial: None,
        };
        let id = accounts::create(self.store(), draft, &self.by()).unwrap().id;
        self.model.accounts.push(ModelAccount { id, plan, custom: None, trial_until: None, suspended: false });
    }

    fn update_account(
        &mut self,
        account: usize,
        plan: usize,
        custom: Option<u32>,
        trial_mins: Option<u64>,
        suspended: bool,
    ) {
        let Some(found) = self.model.accounts.get(account).cloned() else { return };
        let trial_until = trial_mins.map(|mins| self.now.plus(minutes(mins)));
        let growth = PlanId::new("growth").unwrap();
        let patch = AccountPatch {
            plan: Some(PlanId::new(PLANS[plan].0).unwrap()),
            custom_limit: Some(custom.map(Limit::new)),
            trial: Some(trial_until.map(|ends_at| Trial { plan: growth, ends_at })),
            suspended: Some(suspended),
            ..AccountPatch::default()
        };
        self.store().update_account(found.id, patch, &self.by()).unwrap();
        self.model.accounts[account] = ModelAccount { plan, custom, trial_until, suspended, ..found };
    }

    fn remove_account(&mut self, account: usize) {
        if account >= self.model.accounts.len() {
            return;
        }
        let id = self.model.accounts.remove(account).id;
        self.store().remove_account(id, &self.by()).unwrap();
        self.model.keys.retain(|key| key.account != id);
        let window = Window::at(self.now);
        self.model.used.remove(&(id, window));
        self.model.used.remove(&(id, window.previous()));
    }

    fn create_key(&mut self, account: usize, life_mins: Option<u64>) {
        let Some(account) = self.model.accounts.get(account).map(|found| found.id) else { return };
        let expires_at = life_mins.map(|mins| self.now.plus(minutes(mins)));
        let draft = KeyDraft { name: Name::new("model").unwrap(), scope: Scope::ReadWrite, expires_at };
        let key = keys::issue(self.store(), &self.format, account, draft, &self.by()).unwrap().key;
        self.remember(key.id, account, key.hash, expires_at);
    }

    fn revoke_key(&mut self, key: usize) {
        let Some(id) = self.model.keys.get(key).map(|found| found.id) else { return };
        self.store().revoke_key(id, None, &self.by()).unwrap();
        self.model.keys[key].revoked = true;
    }

    fn set_used(&mut self, account: usize, used: u32) {
        let Some(id) = self.model.accounts.get(account).map(|found| found.id) else { return };
        let window = Window::at(self.now);
        self.store().set_used(id, window, Used::new(used), &self.by()).unwrap();
        self.model.used.insert((id, window), u64::from(used));
    }

    /// After a crash a counter goes on at the end of its block.
    fn restart(&mut self, cleanly: bool) -> Result<(), TestCaseError> {
        let store = self.store.take().unwrap();
        if cleanly {
            store.close().unwrap();
        }
        drop(store);
        let store = self.store.insert(open(self.dir, Duration::from_millis(100)));
        if !cleanly {
            for (&(account, window), used) in &mut self.model.used {
                let stored = u64::from(store.used(account, window).unwrap().as_units());
                prop_assert!((*used..=*used + BLOCK_REST_MAX).contains(&stored), "{stored} for {used}");
                *used = stored;
            }
        }
        Ok(())
    }

    fn remember(&mut self, id: KeyId, account: AccountId, hash: KeyHash, expires_at: Option<Timestamp>) {
        let created_at = self.now;
        let key = ModelKey { id, account, hash, created_at, expires_at, revoked: false, rotated: false };
        self.model.keys.push(key);
    }

    fn rotate(&mut self, key: usize, grace_mins: u64) -> Result<(), TestCaseError> {
        let Some(old) = self.model.keys.get(key).cloned() else { return Ok(()) };
        let grace = Grace::from_secs(grace_mins * 60).unwrap();
        let rotated = keys::rotate(self.store(), &self.format, old.id, None, grace, &self.by());
        prop_assert_eq!(rotated.is_ok(), old.is_live(self.now) && !old.rotated);
        if let Ok(issued) = rotated {
            self.model.keys[key].rotated = true;
            let end = self.now.plus(minutes(grace_mins));
            self.model.keys[key].expires_at = Some(old.expires_at.map_or(end, |own| own.min(end)));
            let life = old.expires_at.map(|own| self.now.plus(own.since(old.created_at)));
            self.remember(issued.key.id, old.account, issued.key.hash, life);
        }
        Ok(())
    }

    fn take(&mut self, key: usize, cost: u32) -> Result<(), TestCaseError> {
        let Some(key) = self.model.keys.get(key).cloned() else { return Ok(()) };
        let holder = self.store().find_holder(&key.hash, self.now).unwrap();
        prop_assert_eq!(holder.is_some(), key.is_live(self.now));
        let Some(holder) = holder else { return Ok(()) };
        let account = self.model.accounts.iter().find(|account| account.id == key.account).unwrap().clone();
        let limit = account.limit(self.now);
        prop_assert_eq!((holder.key_id, holder.account_id, holder.suspended), (key.id, key.account, account.suspended));
        prop_assert_eq!(holder.in_force.api_access, limit.is_some());
        prop_assert_eq!(u64::from(holder.in_force.limit.as_units()), limit.unwrap_or(0));

        let window = Window::at(self.now);
        let taken =
            self.store().take(&holder.counter, window, holder.in_force.limit, Cost::new(cost).unwrap()).unwrap();

        let used = self.model.used.entry((key.account, window)).or_insert(0);
        let fits = *used + u64::from(cost) <= limit.unwrap_or(0);
        if fits {
            *used += u64::from(cost);
        }
        prop_assert_eq!(matches!(taken.0, Decision::Allowed(_)), fits);
        prop_assert_eq!(u64::from(taken.1.as_units()), *used);
        Ok(())
    }

    /// Everything that the store lists is what the model holds, and the other way round.
    fn compare(&self) -> Result<(), TestCaseError> {
        let listed = self.store().list_accounts(None, 1000).unwrap();
        let ids: Vec<AccountId> = listed.items.iter().map(|account| account.id).collect();
        let mut expected: Vec<AccountId> = self.model.accounts.iter().map(|account| account.id).collect();
        expected.sort();
        prop_assert_eq!(ids, expected);
        for (&(account, window), &used) in &self.model.used {
            let stored = self.store().used(account, window).unwrap();
            prop_assert_eq!(u64::from(stored.as_units()), used);
        }
        let stored: BTreeMap<_, _> =
            self.store().keys().map(|found| found.unwrap().key).map(|key| (key.id, key)).collect();
        prop_assert_eq!(stored.len(), self.model.keys.len());
        for key in &self.model.keys {
            let found = &stored[&key.id];
            prop_assert_eq!(
                (found.account_id, found.hash, found.expires_at, found.revoked_at.is_some()),
                (key.account, key.hash, key.expires_at, key.revoked)
            );
        }
        Ok(())
    }
}

#[test]
fn the_store_agrees_with_its_model_across_restarts() {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    proptest!(config, |(ops in prop::collection::vec(op(), 1..80))| {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run {
            dir: dir.path(),
            store: Some(open(dir.path(), Duration::from_millis(100))),
            model: Model::default(),
            now: at(START),
            format: KeyFormat::new("klinky").unwrap(),
        };
        for op in &ops {
            run.step(op)?;
        }
        run.compare()?;
        run.step(&Op::Restart { cleanly: true })?;
        run.compare()?;
    });
}
