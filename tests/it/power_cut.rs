//! Power cuts: the data directory on a disk of its own, of which a copy is made while everything is being written. The
//! copy has what reached the device and nothing of what the system still held in memory. See `loop_disk.rs`.
//!
//! `KLINKY_CRASH_ROUNDS` asks for more rounds than CI makes.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::crash::rounds;
use crate::crash_rounds::{AT_0_MS, AT_100_MS, Setup, assert_whole};
use crate::loop_disk::Disk;
use crate::process::{Process, pass};

/// Rounds of each of the two tests: 30 in all.
const ROUNDS: u32 = 15;
const DISK_MIB: u64 = 96;
/// What a round adds to the store, at most; the disk must not become full.
const ROUND_MIB: u64 = 4;

fn cut_again_and_again(flush_every_ms: &str, may_forget: Duration) {
    let Some(mut disk) = Disk::new(DISK_MIB + ROUND_MIB * u64::from(rounds(ROUNDS))) else { return };
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let flags = ["--flush-every-ms", flush_every_ms, "--log", "warn,klinky::run=info"];
    let mut process = Process::serve(&disk.path().join("db"), &flags);
    let setup = Setup::new(&process);
    let mut writes = 0;
    for round in 0..rounds(ROUNDS) {
        let lasts = Duration::from_millis(random.random_range(50..900));
        let mut after_the_cut = None;
        let load = setup.load(&process, || {
            pass(lasts);
            // It stands still while the copy is made: nothing is answered that the copy cannot have.
            process.signal("STOP");
            after_the_cut = Some(disk.cut());
            process.signal("KILL");
        });
        process.kill();
        println!("round {round}: {} in {lasts:?}", load.summary());
        // The disk before the cut is gone, with all that the system had not written to it.
        disk = after_the_cut.unwrap();
        let dir = disk.path().join("db");
        assert_whole(&dir);
        process = Process::serve(&dir, &flags);
        setup.check(&process, &load, may_forget);
        writes += load.writes();
    }
    assert!(writes > 0, "nothing was written");
}

#[test]
fn power_cuts_forget_at_most_an_interval() {
    cut_again_and_again("100", AT_100_MS);
}

#[test]
fn power_cuts_forget_no_unit_that_was_on_disk_before_the_answer() {
    cut_again_and_again("0", AT_0_MS);
}
