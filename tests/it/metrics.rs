//! Metrics: that they count what happens, in the format that Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klinky::config::BackupSettings;
use regex::Regex;
use serde_json::json;

use crate::harness::{ADMIN_TOKEN, Server};
use crate::process::wait_until;

/// Samples by name and labels, as they stand in the text: `klinky_records{kind="key"}`.
pub(crate) struct Scrape {
    pub(crate) text: String,
    samples: BTreeMap<String, f64>,
}

pub(crate) fn scrape(server: &Server) -> Scrape {
    let answer = server.admin.exchange("GET /metrics");
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("content-type").unwrap(), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    Scrape { samples: samples.collect(), text: answer.body }
}

impl Scrape {
    pub(crate) fn value(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} in {}", self.text))
    }

    /// The samples whose names begin like this, as lines.
    pub(crate) fn lines(&self, start: &str) -> String {
        let found = self.samples.iter().filter(|(name, _value)| name.starts_with(start));
        found.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join("\n")
    }

    /// The names of all samples, without labels.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|sample| sample.split('{').next().unwrap()).collect()
    }
}

/// A server that has seen every outcome, and makes backups.
pub(crate) fn busy() -> Server {
    let server = Server::start_with(|settings| {
        let dir = settings.data_dir.parent().unwrap().join("backups");
        settings.backups = Some(BackupSettings { dir, every: Duration::from_secs(3600), keep: 1 });
    });
    let account = server.account("growth");
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"custom_limit": 2}));
    for _request in 0..3 {
        server.ping(&account.key);
    }
    server.ping("nonsense");
    server.public.exchange("GET /api/v1/public/links");
    let stopped = server.account("scale");
    server.admin_ok("PATCH", &format!("/accounts/{}", stopped.id), &json!({"suspended": true}));
    server.ping(&stopped.key);
    server.ping(&server.account("free").key);
    server
}

#[test]
fn decisions_are_counted_by_outcome_and_plan() {
    let server = busy();

    let scrape = scrape(&server);

    insta::assert_snapshot!(scrape.lines("klinky_decisions_total"), @r#"
    klinky_decisions_total{outcome="allowed",plan="free"} 0
    klinky_decisions_total{outcome="allowed",plan="growth"} 2
    klinky_decisions_total{outcome="allowed",plan="scale"} 0
    klinky_decisions_total{outcome="failed",plan=""} 0
    klinky_decisions_total{outcome="invalid_key",plan=""} 1
    klinky_decisions_total{outcome="limit_reached",plan="free"} 0
    klinky_decisions_total{outcome="limit_reached",plan="growth"} 1
    klinky_decisions_total{outcome="limit_reached",plan="scale"} 0
    klinky_decisions_total{outcome="missing_key",plan=""} 1
    klinky_decisions_total{outcome="no_api_access",plan="free"} 1
    klinky_decisions_total{outcome="no_api_access",plan="growth"} 0
    klinky_decisions_total{outcome="no_api_access",plan="scale"} 0
    klinky_decisions_total{outcome="read_only_key",plan="free"} 0
    klinky_decisions_total{outcome="read_only_key",plan="growth"} 0
    klinky_decisions_total{outcome="read_only_key",plan="scale"} 0
    klinky_decisions_total{outcome="suspended",plan="free"} 0
    klinky_decisions_total{outcome="suspended",plan="growth"} 0
    klinky_decisions_total{outcome="suspended",plan="scale"} 1
    "#);
    let noted = scrape.value("klinky_decision_duration_seconds_count");
    assert!((noted - 6.0).abs() < 0.1, "all but the one without a key: {noted}");
}

#[test]
fn answers_are_counted_by_listener_and_status_with_how_long_they_took() {
    let server = busy();

    let scrape = scrape(&server);

    insta::assert_snapshot!(scrape.lines("klinky_responses_total"), @r#"
    klinky_responses_total{listener="admin",status="200"} 2
    klinky_responses_total{listener="admin",status="201"} 6
    klinky_responses_total{listener="public",status="200"} 2
    klinky_responses_total{listener="public",status="401"} 2
    klinky_responses_total{listener="public",status="403"} 2
    klinky_responses_total{listener="public",status="429"} 1
    "#);
    insta::assert_snapshot!(scrape.lines("klinky_request_duration_seconds_count"), @r#"
    klinky_request_duration_seconds_count{listener="admin"} 8
    klinky_request_duration_seconds_count{listener="public"} 7
    "#);
    assert!(scrape.value("klinky_request_duration_seconds_sum{listener=\"public\"}") > 0.0);
}

#[test]
fn records_and_commits_are_counted() {
    let server = busy();
    let account = server.account("scale");
    let link = json!({"name": "Spring", "destination_url": "https://example.com/"});
    let request = format!("POST /api/v1/public/links\nX-API-Key: {}\nIdempotency-Key: spring\n\n{link}", account.key);
    assert_eq!(server.public.exchange(&request).status, 201);

    let scrape = scrape(&server);

    insta::assert_snapshot!(scrape.lines("klinky_records"), @r#"
    klinky_records{kind="account"} 4
    klinky_records{kind="key"} 4
    klinky_records{kind="link"} 1
    klinky_records{kind="plan"} 4
    "#);
    assert!(scrape.value("klinky_store_disk_bytes") > 0.0);
    let (ok, failed) = (
        scrape.value("klinky_store_commits_total{result=\"ok\"}"),
        scrape.value("klinky_store_commits_total{result=\"failed\"}"),
    );
    assert!(ok > 0.0 && failed.abs() < 0.1, "{ok} {failed}");
    assert!(scrape.value("klinky_store_commit_duration_seconds_count") > 0.0);
    assert!(scrape.value("klinky_store_unsynced_seconds") < 60.0);
    assert!((scrape.value("klinky_store_writes_total{kind=\"kept_answer\"}") - 1.0).abs() < 0.1);
    assert!(scrape.value("klinky_store_writes_total{kind=\"change\"}") >= 10.0);
}

#[test]
fn of_many_requests_few_write_to_the_store() {
    let server = Server::start();
    let account = server.account("scale");

    for _request in 0..20 {
        server.ping(&account.key);
    }

    let scrape = scrape(&server);
    let written = scrape.value("klinky_store_writes_total{kind=\"counter_block\"}");
    let allowed = scrape.value("klinky_decisions_total{outcome=\"allowed\",plan=\"scale\"}");
    assert!(
        (written - 2.0).abs() < 0.1 && (allowed - 20.0).abs() < 0.1,
        "{written} of {allowed}: a block has ten units"
    );
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let server = Server::start();
    let open = |scrape: &Scrape| scrape.value("klinky_connections{listener=\"public\"}");
    let wait_for = |wanted: f64| {
        let what = format!("{wanted} connections are open");
        wait_until(&what, || (open(&scrape(&server)) - wanted).abs() < 0.1);
    };

    let (first, second) = (server.public.connect(), server.public.connect());
    wait_for(2.0);
    drop(first);
    wait_for(1.0);
    drop(second);
    wait_for(0.0);
}

#[test]
fn nothing_in_them_tells_of_one_account_or_secret() {
    let server = busy();
    let account = server.account("growth");
    server.ping(&account.key);

    let text = scrape(&server).text;

    for word in [&account.id, &account.key_id, &account.key, "Acme", ADMIN_TOKEN] {
        assert!(!text.contains(word), "{word}");
    }
}

/// The rules of `OpenMetrics` 1.0 that a scraper stumbles over.
#[test]
fn the_text_is_openmetrics() {
    let scrape = scrape(&busy());
    let sample =
        Regex::new(r#"^(?:klinky|process)_[a-z_]+(\{[a-z_]+="[^"\\]*"(,[a-z_]+="[^"\\]*")*\})? [0-9.e+-]+$"#).unwrap();
    let (mut kinds, mut family) = (BTreeMap::new(), String::new());
    assert!(scrape.text.ends_with("# EOF\n"));
    for line in scrape.text.lines().filter(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, _help] => {
                assert!(!kinds.contains_key(name), "{name} stands twice");
                family = name.to_owned();
            }
            ["#", "TYPE", name, kind] => {
                assert_eq!(name, family);
                kinds.insert(name.to_owned(), kind.to_owned());
            }
            ["#", "UNIT", name, unit] => assert!(name.ends_with(&format!("_{unit}")), "{line}"),
            _ => {
                assert!(sample.is_match(line), "{line}");
                let name = line.split(['{', ' ']).next().unwrap();
                let endings: &[&str] = match kinds[&family].as_str() {
                    "counter" => &["_total"],
                    "info" => &["_info"],
                    "histogram" => &["_bucket", "_count", "_sum"],
                    "gauge" => &[""],
                    other => panic!("{family} is a {other}"),
                };
                assert!(endings.iter().any(|end| name == format!("{family}{end}")), "{line} under {family}");
            }
        }
    }
    let histograms: Vec<&String> =
        kinds.iter().filter(|(_name, kind)| *kind == "histogram").map(|(name, _)| name).collect();
    assert_eq!(histograms.len(), 3);
    for name in histograms {
        assert_histogram(&scrape, name);
    }
}

/// Buckets grow, and the last one has all.
fn assert_histogram(scrape: &Scrape, name: &str) {
    let lines = scrape.text.lines().filter(|line| line.starts_with(&format!("{name}_bucket")));
    let (mut before, mut bounds) = (0.0, 0);
    for line in lines {
        let (labels, count) = line.rsplit_once(' ').unwrap();
        let count: f64 = count.parse().unwrap();
        assert!(count >= before, "{line}");
        (before, bounds) = (count, bounds + 1);
        if labels.contains("le=\"+Inf\"") {
            let whole = labels.replace("_bucket", "_count").replace("le=\"+Inf\",", "").replace("{le=\"+Inf\"}", "");
            assert!((scrape.value(&whole) - count).abs() < 0.1, "{line}");
            before = 0.0;
        }
    }
    assert_eq!(bounds % 16, 0, "{name}");
}
