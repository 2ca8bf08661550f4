//! What is made for Prometheus and Grafana asks for metrics and labels that there are; and `promtool` holds each alert against
//! series for which it is due, and others for which it is not (`fixtures/alerts_test.yml`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::metrics::{Scrape, busy, scrape};
use crate::process::{find_program, run};
use crate::upstream::Upstream;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(file("data/recipes/grafana.json")).unwrap()).unwrap()
}

fn alerts() -> Value {
    serde_saphyr::from_str(&fs::read_to_string(file("data/recipes/alerts.yml")).unwrap()).unwrap()
}

/// What servers export, with links and with an upstream.
fn exported() -> [Scrape; 2] {
    [scrape(&busy()), scrape(&Upstream::plain().guarded(&[]))]
}

/// The names of metrics that a query asks for. Each is exported, as are its labels, or the scraper's own.
fn asked<'q>(query: &'q str, exported: &[Scrape]) -> BTreeSet<&'q str> {
    let metric = Regex::new(r"\b(?:klinky|process)_[a-z_]+").unwrap();
    let label = Regex::new(r#"[{,]\s*([a-z]+)\s*(?:=~|!=|=)"#).unwrap();
    for label in label.captures_iter(query).map(|found| found[1].to_owned()) {
        let is_there = exported.iter().any(|scrape| scrape.text.contains(&format!("{label}=\"")));
        assert!(is_there || ["job", "instance"].contains(&label.as_str()), "{query}: no label {label}");
    }
    let names: BTreeSet<&str> = metric.find_iter(query).map(|name| name.as_str()).collect();
    for name in &names {
        assert!(exported.iter().any(|scrape| scrape.names().contains(name)), "{query}: there is no {name}");
    }
    names
}

#[test]
fn the_dashboard_asks_for_metrics_and_labels_that_there_are_and_leaves_none_out() {
    let (dashboard, exported) = (dashboard(), exported());
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default());
    let families = |names: BTreeSet<&str>| -> BTreeSet<String> {
        let base = |name: &str| {
            ["_bucket", "_count", "_sum"].iter().fold(name.to_owned(), |n, end| n.trim_end_matches(end).to_owned())
        };
        names.into_iter().map(base).collect()
    };

    let asked = targets.flat_map(|target| asked(target["expr"].as_str().unwrap(), &exported)).collect();

    assert_eq!(families(asked), families(exported.iter().flat_map(Scrape::names).collect()));
}

#[test]
fn the_panels_of_the_dashboard_do_not_lie_on_each_other() {
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24 && w > 0 && h > 0, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{} lies on another panel", panel["title"]);
        }
    }
}

/// The rules of the alerts.
fn rules(alerts: &Value) -> &[Value] {
    alerts["groups"][0]["rules"].as_array().unwrap()
}

#[test]
fn alerts_ask_for_metrics_and_labels_that_there_are() {
    let (alerts, exported) = (alerts(), exported());

    for rule in rules(&alerts) {
        let names = asked(rule["expr"].as_str().unwrap(), &exported);

        assert!(!names.is_empty() || rule["expr"] == "up{job=\"klinky\"} == 0", "{rule} asks for nothing of ours");
    }
}

#[test]
fn each_alert_is_raised_when_it_is_due_and_only_then() {
    let Some(promtool) = find_program("promtool", "apt-get install prometheus") else { return };
    let tests = file("tests/it/fixtures/alerts_test.yml");

    let held = run(Command::new(promtool).args(["test", "rules"]).arg(&tests));

    assert_eq!(held.code, Some(0), "{}{}", held.stdout, held.stderr);
    let tests: Value = serde_saphyr::from_str(&fs::read_to_string(tests).unwrap()).unwrap();
    let cases =
        || tests["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    for rule in rules(&alerts()) {
        for is_raised in [false, true] {
            let is_held = |case: &Value| {
                case["alertname"] == rule["alert"] && is_raised != case["exp_alerts"].as_array().unwrap().is_empty()
            };
            assert!(cases().any(is_held), "no case in which {} is raised: {is_raised}", rule["alert"]);
        }
    }
}
