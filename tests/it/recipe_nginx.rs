//! The recipe for nginx, run by a real nginx.

use crate::recipe_cases::{self as cases, Stage};
use crate::recipes::Recipe;

#[test]
fn an_allowed_request_reaches_the_api_with_its_account_and_without_its_key() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::an_allowed_request_reaches_the_api_with_its_account_and_without_its_key(&stage);
}

#[test]
fn a_client_cannot_take_its_account_away() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::a_client_cannot_take_its_account_away(&stage);
}

#[test]
fn a_request_without_a_valid_key_is_401() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::a_request_without_a_valid_key_is_401(&stage);
}

#[test]
fn an_account_without_access_is_403() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::an_account_without_access_is_403(&stage);
}

#[test]
fn a_request_over_the_limit_is_429() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::a_request_over_the_limit_is_429(&stage);
}

#[test]
fn bodies_reach_the_api() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::bodies_reach_the_api(&stage);
}

#[test]
fn methods_reach_the_api() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::methods_reach_the_api(&stage);
}

#[test]
fn a_read_only_key_cannot_write() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::a_read_only_key_cannot_write(&stage);
}

#[test]
fn the_apis_own_errors_pass_as_they_are() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::the_apis_own_errors_pass_as_they_are(&stage);
}

#[test]
fn exactly_the_limit_passes_when_many_race() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::exactly_the_limit_passes_when_many_race(&stage);
}

#[test]
fn a_second_key_does_not_make_up_for_a_wrong_one() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::a_second_key_does_not_make_up_for_a_wrong_one(&stage);
}

#[test]
fn long_cookies_do_not_disturb_the_check() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::long_cookies_do_not_disturb_the_check(&stage);
}

#[test]
fn checks_share_connections() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::checks_share_connections(&stage);
}

#[test]
fn nothing_passes_while_klinky_is_down() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::nothing_passes_while_klinky_is_down(stage);
}

#[test]
fn nothing_passes_while_the_store_fails() {
    cases::nothing_passes_while_the_store_fails(Recipe::Nginx);
}

#[test]
fn klinky_learns_which_request_is_asked_about() {
    cases::klinky_learns_which_request_is_asked_about(Recipe::Nginx);
}

#[test]
fn klinkys_pages_can_be_shown_beside_the_api() {
    cases::klinkys_pages_can_be_shown_beside_the_api(Recipe::Nginx);
}

#[test]
fn the_client_and_the_api_see_the_id_that_klinky_logs() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::the_client_and_the_api_see_the_id_that_klinky_logs(&stage);
}

#[test]
fn nobody_waits_while_klinky_is_down() {
    let Some(stage) = Stage::set(Recipe::Nginx) else { return };
    cases::nobody_waits_while_klinky_is_down(stage);
}
