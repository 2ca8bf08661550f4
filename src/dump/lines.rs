//! The lines of a dump, joined to the domain: written from it, and read into it with every value checked.

use serde::{Deserialize, Serialize};

use super::link_lines::{ClickDayLine, ClickLine, ConversionLine, LinkLine, TakenSlugLine};
use super::usage_lines::UsageLine;
use crate::domain::Invalid;
use crate::domain::account::{Account, Terms, Trial};
use crate::domain::decision::{Limit, Used};
use crate::domain::id::{AccountId, KeyId};
use crate::domain::key::{Key, KeyHash, Scope};
use crate::domain::plan::{Plan, PlanId};
use crate::domain::text::{Email, Name, Note};
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use crate::store::{Counter, KeyUse};

const FORMAT: &str = "klinky";
/// The version that is written. Every earlier one is read, see `data/dumps/`.
pub(super) const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Line {
    Header(HeaderLine),
    Plan(PlanLine),
    Account(AccountLine),
    Key(KeyLine),
    Counter(CounterLine),
    Link(Box<LinkLine>),
    ClickDay(ClickDayLine),
    Click(Box<ClickLine>),
    Conversion(ConversionLine),
    TakenSlug(TakenSlugLine),
    Usage(UsageLine),
    End(EndLine),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderLine {
    pub(super) format: String,
    pub(super) version: u32,
    pub(super) created_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanLine {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) api_access: bool,
    pub(super) requests_per_hour: u32,
    pub(super) best_for: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountLine {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) plan: String,
    pub(super) custom_limit: Option<u32>,
    pub(super) trial: Option<TrialLine>,
    pub(super) suspended: bool,
    pub(super) created_at: String,
    pub(super) updated_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrialLine {
    pub(super) plan: String,
    pub(super) ends_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyLine {
    pub(super) id: String,
    pub(super) account_id: String,
    pub(super) sha256: String,
    pub(super) name: String,
    pub(super) display: String,
    pub(super) scope: String,
    pub(super) created_at: String,
    pub(super) expires_at: Option<String>,
    pub(super) revoked_at: Option<String>,
    // Most keys have none, nor have the first dumps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rotated_at: Option<String>,
    pub(super) last_used_at: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CounterLine {
    pub(super) account_id: String,
    pub(super) hour: String,
    pub(super) used: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine {
    pub(super) rows: u64,
}

impl Line {
    /// The first line of a dump that is written at `now`.
    pub(super) fn header(now: Timestamp) -> Self {
        Self::Header(HeaderLine { format: FORMAT.to_owned(), version: VERSION, created_at: now.to_string() })
    }

    /// The last line of a dump of so many rows: without it, a file that was cut between two lines would pass as whole.
    pub(super) fn end(rows: u64) -> Self {
        Self::End(EndLine { rows })
    }

    /// Reads a line.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        if text.trim_ascii_start().first() != Some(&b'{') {
            // serde would read an array as an object's fields in order.
            return Err("must be a JSON object".to_owned());
        }
        // The line of the position is 1 for serde, whichever line of the dump it is.
        serde_json::from_slice(text).map_err(|error| error.to_string().replace(" at line 1 column ", " at column "))
    }
}

impl HeaderLine {
    /// Whether this program reads the dump that begins with this line.
    pub(super) fn is_ours(&self) -> bool {
        self.format == FORMAT && self.version == VERSION
    }
}

impl From<&Plan> for PlanLine {
    fn from(plan: &Plan) -> Self {
        Self {
            id: plan.id.to_string(),
            name: plan.name.to_string(),
            api_access: plan.api_access,
            requests_per_hour: plan.requests_per_hour.as_units(),
            best_for: plan.best_for.as_str().to_owned(),
        }
    }
}

impl From<&Account> for AccountLine {
    fn from(account: &Account) -> Self {
        let terms = &account.terms;
        Self {
            id: account.id.to_string(),
            name: account.name.to_string(),
            email: account.email.as_ref().map(|email| email.as_str().to_owned()),
            plan: terms.plan.to_string(),
            custom_limit: terms.custom_limit.map(Limit::as_units),
            trial: terms.trial.as_ref().map(TrialLine::from),
            suspended: terms.suspended,
            created_at: account.created_at.to_string(),
            updated_at: account.updated_at.to_string(),
        }
    }
}

impl From<&Trial> for TrialLine {
    fn from(trial: &Trial) -> Self {
        Self { plan: trial.plan.to_string(), ends_at: trial.ends_at.to_string() }
    }
}

impl From<&KeyUse> for KeyLine {
    fn from(row: &KeyUse) -> Self {
        let key = &row.key;
        Self {
            id: key.id.to_string(),
            account_id: key.account_id.to_string(),
            sha256: key.hash.to_string(),
            name: key.name.to_string(),
            display: key.display.to_string(),
            scope: key.scope.as_str().to_owned(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
            rotated_at: key.rotated_at.map(|at| at.to_string()),
            last_used_at: row.last_used_at.map(|at| at.to_string()),
        }
    }
}

impl From<&Counter> for CounterLine {
    fn from(counter: &Counter) -> Self {
        Self {
            account_id: counter.account_id.to_string(),
            hour: counter.window.start().to_string(),
            used: counter.used.as_units(),
        }
    }
}

impl PlanLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<Plan, String> {
        Ok(Plan {
            id: field("id", PlanId::new(&self.id))?,
            name: field("name", Name::new(&self.name))?,
            api_access: self.api_access,
            requests_per_hour: Limit::new(self.requests_per_hour),
            best_for: field("best_for", Note::new(&self.best_for))?,
        })
    }
}

impl AccountLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<Account, String> {
        let trial = |trial: &TrialLine| -> Result<Trial, String> {
            Ok(Trial {
                plan: field("trial.plan", PlanId::new(&trial.plan))?,
                ends_at: field("trial.ends_at", Timestamp::parse(&trial.ends_at))?,
            })
        };
        Ok(Account {
            id: field("id", AccountId::parse(&self.id))?,
            name: field("name", Name::new(&self.name))?,
            email: self.email.as_deref().map(|text| field("email", Email::new(text))).transpose()?,
            terms: Terms {
                plan: field("plan", PlanId::new(&self.plan))?,
                custom_limit: self.custom_limit.map(Limit::new),
                trial: self.trial.as_ref().map(trial).transpose()?,
                suspended: self.suspended,
            },
            created_at: field("created_at", Timestamp::parse(&self.created_at))?,
            updated_at: field("updated_at", Timestamp::parse(&self.updated_at))?,
        })
    }
}

impl KeyLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<KeyUse, String> {
        Ok(KeyUse {
            key: Key {
                id: field("id", KeyId::parse(&self.id))?,
                account_id: field("account_id", AccountId::parse(&self.account_id))?,
                hash: field("sha256", KeyHash::parse(&self.sha256))?,
                name: field("name", Name::new(&self.name))?,
                // The display form has the bounds of a name.
                display: field("display", Name::new(&self.display))?.as_str().into(),
                scope: field("scope", Scope::parse(&self.scope))?,
                created_at: field("created_at", Timestamp::parse(&self.created_at))?,
                expires_at: instant("expires_at", self.expires_at.as_ref())?,
                revoked_at: instant("revoked_at", self.revoked_at.as_ref())?,
                rotated_at: instant("rotated_at", self.rotated_at.as_ref())?,
            },
            last_used_at: instant("last_used_at", self.last_used_at.as_ref())?,
        })
    }
}

impl CounterLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<Counter, String> {
        Ok(Counter {
            account_id: field("account_id", AccountId::parse(&self.account_id))?,
            window: field("hour", Timestamp::parse(&self.hour).and_then(Window::starting))?,
            used: Used::new(self.used),
        })
    }
}

/// Names the field that was refused.
pub(super) fn field<T>(name: &str, checked: Result<T, Invalid>) -> Result<T, String> {
    checked.map_err(|error| format!("{name}: {error}"))
}

pub(super) fn instant(name: &str, text: Option<&String>) -> Result<Option<Timestamp>, String> {
    text.map(|text| field(name, Timestamp::parse(text))).transpose()
}
