//! The command: parses the command line, runs one subcommand, turns failures into exit codes.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use klinky::config::Cli;
use klinky::run::{Failure, run};
use tikv_jemallocator::Jemalloc;

/// Threads that free what others allocated, as the store's do, wait for each other less than with glibc's.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// The command line is wrong; clap exits with the same.
const USAGE: u8 = 2;
/// It could not be done.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    match run(Cli::of_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(faults)) => {
            faults.iter().for_each(|fault| complain(fault));
            ExitCode::from(USAGE)
        }
        Err(Failure::Run(error)) => {
            complain(&with_causes(error.as_ref()));
            ExitCode::from(FAILED)
        }
    }
}

/// Nobody can be told if standard error is closed.
fn complain(text: &str) {
    let _closed = writeln!(std::io::stderr(), "klinky: {text}");
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
