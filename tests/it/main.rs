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
mod ask;
mod bodies;
mod check;
mod cli;
mod cli_dump;
mod cli_serve;
mod cors;
mod crash;
mod dumps;
mod dumps_beside;
mod dumps_refused;
mod ended_keys;
mod full_disk;
mod guarded_open;
mod harness;
mod head;
mod issuer;
mod jwt;
mod limits;
mod lockout;
mod model;
mod own_account;
mod own_keys;
mod paths;
mod problems;
mod process;
mod public;
mod readme;
mod refused_keys;
mod simulation;
mod smoke;
mod store;
mod table;
mod tidy;
