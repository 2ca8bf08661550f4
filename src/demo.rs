//! The demo: one account with a key for each plan, and lines to paste into a shell.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::accounts::{self, AccountDraft};
use crate::domain::Invalid;
use crate::domain::key::{KeyFormat, Scope};
use crate::domain::plan::PlanId;
use crate::domain::text::Name;
use crate::domain::time::Timestamp;
use crate::keys::{self, IssueError, KeyDraft};
use crate::secrets::Secret;
use crate::store::{Author, DirectoryError, Store};
use crate::tokens::{Signer, TokenError, Ttl};

/// The account that the curl lines are about: the smallest plan with API access.
const SHOWN_PLAN: &str = "growth";
const TOKEN_SECS: u32 = 24 * 3600;

/// Why the demo's accounts were not made.
#[derive(Debug, thiserror::Error)]
#[error("could not set up the demo")]
pub enum DemoError {
    /// A value of ours is refused.
    Value(#[from] Invalid),
    /// The directory refused.
    Directory(#[from] DirectoryError),
    /// No key could be issued.
    Issue(#[from] IssueError),
    /// No token could be signed.
    Token(#[from] TokenError),
}

/// Where the demo's server is, and how its admin API opens.
#[derive(Debug, Clone)]
pub struct Place {
    /// A path that a key opens.
    pub path: String,
    /// The public listener.
    pub public: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The admin token.
    pub admin_token: Secret,
}

/// Makes the accounts and answers what to print. Blocks.
///
/// # Errors
/// When the store refuses.
pub fn set_up(
    store: &Store,
    format: &KeyFormat,
    signer: &Signer,
    place: &Place,
    now: Timestamp,
) -> Result<String, DemoError> {
    let by = Author { actor: "demo".to_owned(), request_id: "demo".to_owned(), at: now };
    let mut lines = String::new();
    let mut shown = None;
    for plan in store.list_plans(None, usize::MAX).map_err(DirectoryError::from)?.items {
        let name = Name::new(&format!("Demo {}", plan.name))?;
        let draft = AccountDraft { name, email: None, plan: plan.id.clone(), custom_limit: None, trial: None };
        let account = accounts::create(store, draft, &by)?;
        let draft = KeyDraft { name: Name::new("demo")?, scope: Scope::ReadWrite, expires_at: None };
        let issued = keys::issue(store, format, account.id, draft, &by)?;
        line(&mut lines, &plan.id, &account.id.to_string(), issued.secret.reveal());
        if plan.id.as_str() == SHOWN_PLAN {
            let (token, _expires_at) = signer.sign(account.id, Ttl::from_secs(TOKEN_SECS)?, now)?;
            shown = Some((account.id.to_string(), issued.secret.reveal().to_owned(), token));
        }
    }
    Ok(match shown {
        Some((account, key, token)) => banner(place, &lines, &account, &key, &token),
        None => lines,
    })
}

fn line(lines: &mut String, plan: &PlanId, account: &str, key: &str) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(lines, "  {:<8} {account}  {key}", plan.as_str());
}

fn banner(place: &Place, lines: &str, account: &str, key: &str, token: &str) -> String {
    let Place { path, public, admin, admin_token } = place;
    let admin_token = admin_token.reveal();
    format!(
        "\
klinky demo: a throw-away database; it is gone when you press Ctrl-C.

  public   http://{public}
  admin    http://{admin}

  plan     account                               key
{lines}
Open the dashboard of the account on Growth, and the operator's page (with the admin token below):

  http://{public}/dashboard#token={token}
  http://{admin}/

Or paste this into another shell:

  export API=http://{public} ADMIN=http://{admin}
  export KEY={key}
  export ACCOUNT={account}
  export ADMIN_TOKEN={admin_token}
  export JWT={token}

And then:

  curl -i $API{path} -H \"X-API-Key: $KEY\"
  curl $API/api/v1/public/keys/rate-limit -H \"Authorization: Bearer $JWT\"
  curl -X PATCH $ADMIN/admin/v1/accounts/$ACCOUNT -H \"Authorization: Bearer $ADMIN_TOKEN\" -d '{{\"plan\": \"scale\"}}'

"
    )
}
