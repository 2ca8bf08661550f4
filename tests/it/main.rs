//! The one integration binary: real stores in temporary directories, real sockets, the server that
//! `main` starts, a clock that the test moves.
#![cfg(test)]

mod admin;
mod admin_account_input;
mod admin_accounts;
mod admin_effects;
mod admin_keys;
mod admin_lists;
mod admin_ops;
mod admin_plans;
mod admin_sessions;
mod admin_trail;
mod check;
mod cli;
mod crash;
mod dumps;
mod dumps_beside;
mod dumps_refused;
mod guarded_open;
mod harness;
mod head;
mod jwt;
mod limits;
mod model;
mod public;
mod readme;
mod simulation;
mod smoke;
mod store;
mod table;
mod tidy;
