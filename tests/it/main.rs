//! The one integration binary: real stores in temporary directories, real sockets, the server that
//! `main` starts, a clock that the test moves.
#![cfg(test)]

mod admin;
mod ask;
mod bodies;
mod check;
mod cli;
mod cors;
mod crash;
mod dumps;
mod ended_keys;
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
mod public;
mod readme;
mod refused_keys;
mod simulation;
mod smoke;
mod store;
mod tidy;
