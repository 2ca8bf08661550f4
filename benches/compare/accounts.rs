//! The accounts that ask: a dump with them, and the keys.

use std::fs;
use std::path::{Path, PathBuf};

use klinky::clock::{Clock, SystemClock};
use klinky::domain::key::{Digit, KeyFormat};
use klinky::domain::time::Timestamp;
use klinky::ids;
use rand::RngExt;

use crate::load::Load;
use crate::servers::Server;

/// Keys of each account in the table.
pub(crate) const KEYS_EACH: usize = 2;

/// Accounts, and what asks for them.
pub(crate) struct Made {
    pub(crate) dump: PathBuf,
    /// All keys, those of an account one after the other.
    pub(crate) keys: Vec<String>,
}

impl Made {
    /// Makes a link; the load that asks for it.
    pub(crate) fn link(&self, server: &Server) -> Load {
        let key = self.keys[0].as_str();
        let body = r#"{"name": "bench", "destination_url": "https://example.com/"}"#;
        let url = format!("http://127.0.0.1:{}/api/v1/public/links", server.port);
        let sent = ureq::post(&url).header("X-API-Key", key).header("Content-Type", "application/json").send(body);
        let answer = sent.unwrap().body_mut().read_to_string().unwrap();
        let link: serde_json::Value = serde_json::from_str(&answer).unwrap();
        Load::new(&format!("/api/v1/public/links/{}", link["id"].as_str().unwrap()), &self.keys[..1])
    }
}

/// What a dump is to hold.
pub(crate) struct Wanted {
    pub(crate) accounts: usize,
    /// Keys of each account.
    pub(crate) keys_each: usize,
    /// Units an hour of each account.
    pub(crate) limit: u32,
    /// An hour in which all of them have a counter.
    pub(crate) counted_in: Option<Timestamp>,
}

/// Makes accounts with their keys.
pub(crate) fn make(dir: &Path, wanted: &Wanted) -> Made {
    let (format, now) = (KeyFormat::new("klinky").unwrap(), SystemClock.now());
    let mut random = rand::rng();
    let (mut account_lines, mut key_lines, mut counter_lines) = (Vec::new(), Vec::new(), Vec::new());
    let mut keys = Vec::new();
    let &Wanted { limit, .. } = wanted;
    for _ in 0..wanted.accounts {
        let id = ids::account_id(now);
        account_lines.push(format!(
            r#"{{"kind":"account","id":"{id}","name":"bench","email":null,"plan":"scale","custom_limit":{limit},"trial":null,"suspended":false,"created_at":"{now}","updated_at":"{now}"}}"#
        ));
        counter_lines.extend(
            wanted
                .counted_in
                .map(|hour| format!(r#"{{"kind":"counter","account_id":"{id}","hour":"{hour}","used":7}}"#)),
        );
        for _ in 0..wanted.keys_each {
            let digits = std::array::from_fn(|_| {
                loop {
                    if let Some(digit) = Digit::from_random(random.random()) {
                        break digit;
                    }
                }
            });
            let secret = format.seal(&digits);
            key_lines.push(format!(
                r#"{{"kind":"key","id":"{}","account_id":"{id}","sha256":"{}","name":"bench","display":"{}","scope":"read_write","created_at":"{now}","expires_at":null,"revoked_at":null,"last_used_at":null}}"#,
                ids::key_id(now),
                hex(secret.hash().as_bytes()),
                secret.display(),
            ));
            keys.push(secret.reveal().to_owned());
        }
    }
    // In the order of a dump: by id, which is the order in which they were made.
    let header = format!(r#"{{"kind":"header","format":"klinky","version":1,"created_at":"{now}"}}"#);
    let plan =
        r#"{"kind":"plan","id":"scale","name":"Scale","api_access":true,"requests_per_hour":1000,"best_for":"bench"}"#;
    let mut lines: Vec<String> = [vec![header, plan.to_owned()], account_lines, key_lines, counter_lines].concat();
    lines.push(format!(r#"{{"kind":"end","rows":{}}}"#, lines.len() - 1));
    let dump = dir.join(format!("dump-{limit}.jsonl"));
    fs::write(&dump, lines.join("\n") + "\n").unwrap();
    Made { dump, keys }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
