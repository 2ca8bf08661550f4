//! The one integration binary: real stores in temporary directories, real sockets, the server that
//! `main` starts, a clock that the test moves.
#![cfg(test)]

mod harness;
mod smoke;
