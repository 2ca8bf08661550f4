//! Metrics of what is around the server: its process, its disk, the upstream behind it.

use std::io::Write;

use klinky::clock::{Clock, SystemClock};

use crate::gateway_faults::nobody;
use crate::harness::Server;
use crate::metrics::scrape;
use crate::upstream::{Upstream, end, read, settings};

#[test]
fn the_process_is_described_as_prometheus_has_it() {
    let server = Server::start();

    let scrape = scrape(&server);

    let now = f64::from(i32::try_from(SystemClock.now().as_secs()).unwrap());
    let age = now - scrape.value("process_start_time_seconds");
    assert!((-2.0..86_400.0).contains(&age), "{age}");
    assert!(scrape.value("process_cpu_seconds_total") > 0.0);
    assert!(scrape.value("process_resident_memory_bytes") > 1e6);
    assert!((10.0..=scrape.value("process_max_fds")).contains(&scrape.value("process_open_fds")));
}

#[test]
fn the_binary_gives_memory_that_is_free_back_within_a_second() {
    // What jemalloc was built with, by `.cargo/config.toml`, stands in it as text.
    let setting = b"dirty_decay_ms:1000";

    let binary = std::fs::read(env!("CARGO_BIN_EXE_klinky")).unwrap();

    assert!(binary.windows(setting.len()).any(|bytes| bytes == setting));
}

#[test]
fn free_space_is_that_of_the_data_directorys_disk() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();

    let told = scrape(&server).value("klinky_disk_free_bytes");

    let disk = rustix::fs::statvfs(temp.path()).unwrap();
    let whole = f64::from(u32::try_from(disk.f_blocks * disk.f_frsize / 1024 / 1024).unwrap()) * 1024.0 * 1024.0;
    assert!(told > 1e6 && told < whole, "{told} of {whole}");
}

#[test]
fn answers_of_the_upstream_are_counted_by_class_and_what_is_none_by_its_reason() {
    // The second last is none that can be passed on.
    let coded = "200 OK\r\nTransfer-Encoding: gzip, chunked";
    let answers = ["200 OK", "201 Created", "302 Found", "404 Not Found", "500 Oops", "xyz Nothing", coded, ""];
    let upstream = Upstream::start(move |mut stream, number, _asked| {
        while read(&mut stream).is_some() {
            match answers[number % answers.len()] {
                // It says nothing, and the next read waits until the gateway gives up.
                "" => {}
                answer => {
                    write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
                    return end(&stream);
                }
            }
        }
    });
    let server = upstream.guarded(&["--upstream-timeout-ms", "500"]);
    let key = server.account("growth").key;

    for _answer in answers {
        server.public.exchange(&format!("GET /v1/x\nX-API-Key: {key}"));
    }
    // Neither of them goes to the upstream.
    server.public.exchange("GET /v1/x");
    server.public.exchange(&format!("GET /v1/x\nX-API-Key: {key}\nUpgrade: websocket"));

    insta::assert_snapshot!(scrape(&server).lines("klinky_upstream"), @r#"
    klinky_upstream_responses_total{result="2xx"} 2
    klinky_upstream_responses_total{result="3xx"} 1
    klinky_upstream_responses_total{result="4xx"} 1
    klinky_upstream_responses_total{result="5xx"} 1
    klinky_upstream_responses_total{result="malformed"} 2
    klinky_upstream_responses_total{result="timeout"} 1
    klinky_upstream_responses_total{result="unreachable"} 0
    "#);
}

#[test]
fn an_upstream_that_cannot_be_reached_is_counted() {
    let gateway = settings(nobody(), &[]);
    let server = Server::start_with(move |settings| settings.gateway = Some(gateway.clone()));
    let key = server.account("growth").key;

    server.public.exchange(&format!("GET /v1/x\nX-API-Key: {key}"));

    let unreachable = scrape(&server).value("klinky_upstream_responses_total{result=\"unreachable\"}");
    assert!((unreachable - 1.0).abs() < 0.1, "{unreachable}");
}

#[test]
fn without_an_upstream_there_are_no_metrics_of_one() {
    assert_eq!(scrape(&Server::start()).lines("klinky_upstream"), "");
}
