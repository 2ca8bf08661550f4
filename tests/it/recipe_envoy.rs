//! The recipe for Envoy, run by a real Envoy.

use crate::harness::Server;
use crate::recipe_api::Api;
use crate::recipe_cases::{self as cases, Stage};
use crate::recipes::{Proxy, Recipe};

#[test]
fn an_allowed_request_reaches_the_api_with_its_account_and_without_its_key() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::an_allowed_request_reaches_the_api_with_its_account_and_without_its_key(&stage);
}

#[test]
fn a_client_cannot_take_its_account_away() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::a_client_cannot_take_its_account_away(&stage);
}

#[test]
fn a_request_without_a_valid_key_is_401() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::a_request_without_a_valid_key_is_401(&stage);
}

#[test]
fn an_account_without_access_is_403() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::an_account_without_access_is_403(&stage);
}

#[test]
fn a_request_over_the_limit_is_429() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::a_request_over_the_limit_is_429(&stage);
}

#[test]
fn bodies_reach_the_api() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::bodies_reach_the_api(&stage);
}

#[test]
fn methods_reach_the_api() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::methods_reach_the_api(&stage);
}

#[test]
fn a_read_only_key_cannot_write() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::a_read_only_key_cannot_write(&stage);
}

#[test]
fn the_apis_own_errors_pass_as_they_are() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::the_apis_own_errors_pass_as_they_are(&stage);
}

#[test]
fn exactly_the_limit_passes_when_many_race() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::exactly_the_limit_passes_when_many_race(&stage);
}

#[test]
fn a_second_key_does_not_make_up_for_a_wrong_one() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::a_second_key_does_not_make_up_for_a_wrong_one(&stage);
}

#[test]
fn long_cookies_do_not_disturb_the_check() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::long_cookies_do_not_disturb_the_check(&stage);
}

#[test]
fn checks_share_connections() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::checks_share_connections(&stage);
}

#[test]
fn nothing_passes_while_klinky_is_down() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    cases::nothing_passes_while_klinky_is_down(stage);
}

#[test]
fn nothing_passes_while_the_store_fails() {
    cases::nothing_passes_while_the_store_fails(Recipe::Envoy);
}

#[test]
fn klinky_learns_which_request_is_asked_about() {
    cases::klinky_learns_which_request_is_asked_about(Recipe::Envoy);
}

#[test]
fn klinkys_pages_can_be_shown_beside_the_api() {
    cases::klinkys_pages_can_be_shown_beside_the_api(Recipe::Envoy);
}

/// Envoy puts `/check` before the client's own target, and a check can be told a cost and nginx's form there.
#[test]
fn what_a_client_asks_for_does_not_change_the_question() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    let account = stage.klinky.account("growth");

    let passed = ["/?cost=50", "/?deny=403", "/check?cost=50", "/a//b/../c?cost=50"]
        .map(|target| stage.send(&format!("GET {target}"), &account, "").status);
    let used = stage.klinky.used(&account.id);
    stage.set_used(&account, 100);
    let denied = stage.send("GET /?deny=403&cost=1", &account, "");

    assert_eq!((passed, used), ([200; 4], 4));
    assert_eq!((denied.status, denied.header("retry-after")), (429, Some("1800")), "{denied}");
    let seen: Vec<String> = stage.api.seen().into_iter().map(|seen| seen.uri).collect();
    assert_eq!(seen, ["/?cost=50", "/?deny=403", "/check?cost=50", "/a/c?cost=50"]);
}

#[test]
fn a_path_with_escaped_slashes_goes_nowhere() {
    let Some(stage) = Stage::set(Recipe::Envoy) else { return };
    let account = stage.klinky.account("growth");

    let statuses = ["/v1%2Fthings", "/v1%5cthings"].map(|path| stage.send(&format!("GET {path}"), &account, "").status);

    assert_eq!((statuses, stage.klinky.used(&account.id), stage.api.seen().len()), ([400; 2], 0, 0));
}

#[test]
fn everybody_passes_while_klinky_is_down_if_the_recipe_says_so() {
    let (mut klinky, api) = (Server::start(), Api::start());
    let account = klinky.account("growth");
    let open = ("failure_mode_allow: false", "failure_mode_allow: true ");
    let Some(proxy) = Proxy::start_changed(Recipe::Envoy, klinky.public, api.address, open) else { return };
    klinky.halt();

    let request = format!("GET /v1/things\nX-API-Key: {}\nX-Klinky-Account: admin", account.key);
    let answer = proxy.listener.exchange(&request);

    assert_eq!(answer.status, 200, "{answer}");
    let seen = api.seen();
    assert_eq!((seen.len(), seen[0].header("x-api-key"), seen[0].names_like_ours()), (1, vec![], vec![]));
}
