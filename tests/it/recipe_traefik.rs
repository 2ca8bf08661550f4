//! The recipe for Traefik, run by a real Traefik.

use crate::harness::Server;
use crate::recipe_api::{Api, OWN_LIMITS};
use crate::recipe_cases::{self as cases, Stage};
use crate::recipes::{Proxy, Recipe};

#[test]
fn an_allowed_request_reaches_the_api_with_its_account_and_without_its_key() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::an_allowed_request_reaches_the_api_with_its_account_and_without_its_key(&stage);
}

#[test]
fn a_client_cannot_take_its_account_away() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::a_client_cannot_take_its_account_away(&stage);
}

#[test]
fn a_request_without_a_valid_key_is_401() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::a_request_without_a_valid_key_is_401(&stage);
}

#[test]
fn an_account_without_access_is_403() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::an_account_without_access_is_403(&stage);
}

#[test]
fn a_request_over_the_limit_is_429() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::a_request_over_the_limit_is_429(&stage);
}

#[test]
fn bodies_reach_the_api() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::bodies_reach_the_api(&stage);
}

#[test]
fn methods_reach_the_api() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::methods_reach_the_api(&stage);
}

#[test]
fn a_read_only_key_cannot_write() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::a_read_only_key_cannot_write(&stage);
}

#[test]
fn the_apis_own_errors_pass_as_they_are() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::the_apis_own_errors_pass_as_they_are(&stage);
}

#[test]
fn exactly_the_limit_passes_when_many_race() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::exactly_the_limit_passes_when_many_race(&stage);
}

#[test]
fn a_second_key_does_not_make_up_for_a_wrong_one() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::a_second_key_does_not_make_up_for_a_wrong_one(&stage);
}

#[test]
fn long_cookies_do_not_disturb_the_check() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::long_cookies_do_not_disturb_the_check(&stage);
}

#[test]
fn checks_share_connections() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    cases::checks_share_connections(&stage);
}

/// Neither status nor body are to be chosen.
#[test]
fn nothing_passes_while_klinky_is_down() {
    let Some(mut stage) = Stage::set(Recipe::Traefik) else { return };
    let account = stage.klinky.account("growth");
    assert_eq!(stage.send("GET /v1/things", &account, "").status, 200);
    stage.klinky.halt();

    for line in ["GET /v1/things", "POST /v1/things"] {
        let answer = stage.send(line, &account, "X-Klinky-Account: admin\n\nbody");
        assert_eq!((answer.status, answer.body.as_str()), (500, ""), "{answer}");
    }
    stage.only_seen();
}

#[test]
fn nothing_passes_while_the_store_fails() {
    cases::nothing_passes_while_the_store_fails(Recipe::Traefik);
}

#[test]
fn klinky_learns_which_request_is_asked_about() {
    cases::klinky_learns_which_request_is_asked_about(Recipe::Traefik);
}

#[test]
fn klinkys_pages_can_be_shown_beside_the_api() {
    cases::klinkys_pages_can_be_shown_beside_the_api(Recipe::Traefik);
}

/// Traefik drops what klinky says to the client with an allowed request; an API may show it.
#[test]
fn the_limit_reaches_the_api_whatever_the_client_says_of_it() {
    let Some(stage) = Stage::set(Recipe::Traefik) else { return };
    let account = stage.klinky.account("growth");
    let forged: Vec<String> = OWN_LIMITS.iter().map(|(name, _value)| format!("{name}: 1000000")).collect();

    stage.send("GET /v1/things", &account, &forged.join("\n"));

    let seen = stage.only_seen();
    let said = OWN_LIMITS.map(|(name, _value)| seen.header(name).join(" and "));
    assert_eq!(said, ["100", "99", "1705330800", "\"hour\";q=100;w=3600", "\"hour\";r=99;t=1800"]);
}

#[test]
fn a_middleware_of_its_own_lets_a_route_cost_more() {
    let (klinky, api) = (Server::start(), Api::start());
    let account = klinky.account("growth");
    let dear = ("/check?cost=1", "/check?cost=10");
    let Some(proxy) = Proxy::start_changed(Recipe::Traefik, klinky.public, api.address, dear) else { return };

    let answer = proxy.listener.exchange(&format!("GET /v1/reports?cost=1\nX-API-Key: {}", account.key));

    assert_eq!((answer.status, klinky.used(&account.id)), (200, 10), "{answer}");
}
