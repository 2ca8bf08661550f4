//! Rules of the house that no lint knows: which way imports point, where things may stand, how long files are.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 400;
const MAIN_LINES_MAX: usize = 50;

/// The layers, from the top down; what a file may import are its own and those below it.
const LAYERS: [&[&str]; 4] = [
    &["main", "run", "log", "http"],
    &[
        "gate",
        "accounts",
        "keys",
        "links",
        "recorder",
        "idempotency",
        "tokens",
        "usage",
        "dump",
        "demo",
        "plans",
        "housekeeping",
        "backups",
        "simulate",
    ],
    &["store"],
    &["domain"],
];
/// What any layer but the domain may use. They use each other and the domain themselves.
const BESIDE: [&str; 6] = ["config", "clock", "durations", "secrets", "ids", "background"];

/// The one exception: the command line names what outside issuers' tokens are checked with.
const MAY_IMPORT: (&str, &str) = ("config", "tokens");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust sources below a directory, by their path from the root, with their text.
pub(crate) fn sources(dir: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(dir), &mut found);
    assert!(!found.is_empty());
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// A source without the tests at its end.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

/// `src/http/guard.rs` is of the module `http`.
fn module(path: &str) -> &str {
    path.trim_start_matches("src/").split(['/', '.']).next().unwrap()
}

/// The modules of ours that a source names: `crate::store::Store`, `crate::{demo, http}`.
fn imported(text: &str) -> Vec<&str> {
    let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let named = text.split("crate::").skip(1);
    named
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').map(str::trim).collect(),
            None => vec![rest],
        })
        .map(|path| path.split(is_end).next().unwrap())
        .collect()
}

/// A source without its comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn imports_point_down_only() {
    for (path, text) in sources("src") {
        let own = module(&path);
        if own == "lib" {
            continue;
        }
        for used in imported(&text) {
            match (layer(own), layer(used)) {
                (Some(mine), Some(theirs)) => assert!(theirs >= mine, "{path} imports {used}, which lies above it"),
                (Some(_), None) => {
                    assert!(BESIDE.contains(&used), "{path} imports {used}, which is in no layer");
                    assert_ne!(own, "domain", "{path} imports {used}");
                }
                (None, theirs) => {
                    assert!(BESIDE.contains(&own), "{path} is in no layer: name it in tidy.rs");
                    let is_below = theirs.is_none() || used == "domain" || (own, used) == MAY_IMPORT;
                    assert!(is_below, "{path} imports {used}, which lies above it");
                }
            }
        }
    }
}

#[test]
fn the_domain_knows_no_framework_clock_or_randomness() {
    for (path, text) in sources("src/domain") {
        for word in [
            "actix",
            "sled",
            "serde",
            "tokio",
            "tracing",
            "getrandom",
            "std::fs",
            "std::net::Tcp",
            "std::net::Udp",
            "async ",
        ] {
            assert!(!code(production(&text)).contains(word), "{path} knows of {word}");
        }
    }
}

#[test]
fn only_the_http_layer_knows_actix_and_only_the_store_knows_sled() {
    for (path, text) in sources("src") {
        let text = code(&text);
        let may_know_actix = matches!(module(&path), "http" | "run" | "config");
        assert!(may_know_actix || !text.contains("actix_web"), "{path} knows actix");
        assert!(module(&path) == "store" || !text.contains("sled::"), "{path} knows sled");
    }
}

#[test]
fn only_the_codec_knows_bytes() {
    for (path, text) in sources("src") {
        let knows = path.contains("store/codec");
        assert!(knows || !text.contains("_be_bytes"), "{path} lays out bytes");
    }
}

#[test]
fn statuses_appear_in_one_file() {
    for (path, text) in sources("src") {
        let named = text.contains("StatusCode::");
        assert!(path == "src/http/error.rs" || !named, "{path} names a status");
    }
}

#[test]
fn files_are_short_and_say_what_lives_in_them() {
    for (path, text) in sources("src").into_iter().chain(sources("tests")).chain(sources("benches")) {
        let max = if path == "src/main.rs" { MAIN_LINES_MAX } else { FILE_LINES_MAX };
        let lines = text.lines().count();
        assert!(lines <= max, "{path} has {lines} lines, more than {max}: split it along an idea");
        assert!(text.starts_with("//!"), "{path} does not begin with //!");
    }
}

#[test]
fn nothing_is_left_over() {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["#[ign", "ore"].concat(), ["dbg", "!("].concat()];
    for (path, text) in sources("src").into_iter().chain(sources("tests")).chain(sources("benches")) {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{path} has a {word}");
        }
    }
}
