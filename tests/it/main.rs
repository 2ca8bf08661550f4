//! The one integration binary: real stores in temporary directories, real sockets, the server that
//! `main` starts, a clock that the test moves.
#![cfg(test)]

mod admin;
mod check;
mod cli;
mod cli_dump;
mod cli_serve;
mod crash;
mod dumps;
mod guarded_open;
mod harness;
mod head;
mod jwt;
mod limits;
mod model;
mod process;
mod public;
mod readme;
mod simulation;
mod smoke;
mod tidy;
