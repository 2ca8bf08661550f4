//! What no run of a recipe shows: the versions that they and the README name, and that systemd knows its unit.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The options that these use came with those versions, by the changelogs of their projects.
#[test]
fn the_least_version_of_a_proxy_stands_in_its_recipe_and_in_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for (file, version) in
        [("traefik.yml", "Traefik 2.4"), ("envoy.yaml", "Envoy 1.36"), ("haproxy.cfg", "HAProxy 2.6")]
    {
        let text = fs::read_to_string(root.join("data/recipes").join(file)).unwrap();
        assert!(text.lines().next().unwrap().contains(&format!("behind {version} or later")), "{file}");
        let row = readme.lines().find(|line| line.contains(&format!("](data/recipes/{file})"))).unwrap();
        assert!(row.starts_with(&format!("| {version}")), "{row}");
    }
}

#[test]
fn systemd_knows_every_setting_of_its_unit() {
    let temp = tempfile::tempdir().unwrap();
    let unit = temp.path().join("klinky.service");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recipes/klinky.service")).unwrap();
    fs::write(&unit, text.replace("/usr/local/bin/klinky", env!("CARGO_BIN_EXE_klinky"))).unwrap();

    let Ok(said) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() else {
        return eprintln!("systemd-analyze is not installed");
    };

    let said = String::from_utf8(said.stderr).unwrap();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("klinky")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}
