//! The way of the first issue, from a new account to a clean stop.

use serde_json::json;

use crate::harness::Server;

#[test]
fn an_account_is_stopped_at_its_limit_upgraded_and_goes_on() {
    let server = Server::start();
    let account = server.account("growth");

    for left in (0..100).rev() {
        let answer = server.ping(&account.key);
        assert_eq!((answer.status, answer.remaining()), (200, left));
    }
    insta::assert_snapshot!(server.ping(&account.key), @"");

    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"plan": "scale"}));

    insta::assert_snapshot!(server.ping(&account.key), @"");
    let server = server.restart();
    assert_eq!(server.used(&account.id), 101);
}
