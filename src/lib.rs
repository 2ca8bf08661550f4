//! API keys, plans and exact hourly rate limits for an HTTP API, in one binary.
//!
//! The map, in the order of a request:
//!
//! - [`http`]: two listeners; extracts the key, answers with the headers. The only part that knows actix.
//! - [`gate`]: key → holder → terms → take → decision. The way of one request, in one file.
//! - [`store`]: sled; accounts, keys and plans with a copy in memory, counters leased in blocks by compare-and-swap.
//! - [`domain`]: pure values and rules; [`domain::decision::decide`] is the rule of the limit.
//!
//! Around it: [`idempotency`] has a request run once however often it is sent;
//! [`accounts`], [`keys`], [`tokens`], [`links`], [`plans`], [`dump`], [`simulate`] are what operators and account holders do;
//! [`recorder`], [`usage`], [`housekeeping`], [`backups`] are threads, and `background` what they have in common;
//! [`run`] is the command line's subcommands, [`config`] its flags, [`demo`] what `--demo` puts into a store;
//! [`secrets`], [`clock`], [`ids`], [`log`], [`durations`] are what a server needs.
//!
//! Invariants:
//!
//! - With limit L, exactly L units pass per account and window, whoever races.
//! - A denial uses nothing of the limit. What is answered as an error of ours was not counted.
//! - An administrative write is on disk, and in force, when it is answered.
//! - Imports point down only: `http` → use-cases → `store` → `domain`.

pub mod accounts;
mod background;
pub mod backups;
pub mod clock;
pub mod config;
pub mod demo;
pub mod domain;
pub mod dump;
pub mod durations;
pub mod gate;
pub mod housekeeping;
pub mod http;
pub mod idempotency;
pub mod ids;
pub mod keys;
pub mod links;
pub mod log;
pub mod plans;
pub mod recorder;
pub mod run;
pub mod secrets;
pub mod simulate;
pub mod store;
pub mod tokens;
pub mod usage;
