//! wrk on the second core, and what it says.

use std::io::Write;
use std::process::Command;

use crate::servers::Server;

const CONNECTIONS: &str = "32";

/// Requests that are sent again and again.
pub(crate) struct Load {
    script: tempfile::NamedTempFile,
    /// The keys, a line each: a script cannot hold a million of them.
    _keys: tempfile::NamedTempFile,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) cpu_secs_per_million: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Load {
    /// Decisions on all of these keys.
    pub(crate) fn check(keys: &[String]) -> Self {
        Self::new("/check", keys)
    }

    /// GETs of a path with each key in turn.
    pub(crate) fn new(path: &str, keys: &[String]) -> Self {
        Self::made(&format!("'GET', '{path}', {{['X-API-Key'] = key}}"), keys)
    }

    /// What throttlecrab is asked about each key in turn: a unit of more than it will be asked for.
    pub(crate) fn throttlecrab(keys: &[String]) -> Self {
        let terms = r#""max_burst":1000000000,"count_per_period":1000000000,"period":3600,"quantity":1"#;
        let body = format!(r#"'{{"key":"' .. key .. '",{terms}}}'"#);
        Self::made(&format!("'POST', '/throttle', {{['Content-Type'] = 'application/json'}}, {body}"), keys)
    }

    /// Prepared texts of requests with each key in turn, of which Lua says what they are.
    fn made(request: &str, keys: &[String]) -> Self {
        let mut listed = tempfile::NamedTempFile::new().unwrap();
        listed.write_all(keys.join("\n").as_bytes()).unwrap();
        let mut script = tempfile::NamedTempFile::new().unwrap();
        writeln!(
            script,
            "local texts, place = {{}}, 0
            function init()
              for key in io.lines(\"{}\") do texts[#texts + 1] = wrk.format({request}) end
            end
            function request() place = place % #texts + 1; return texts[place] end
            function done(s, l) io.write(string.format(\"%d %d %d %d %f %f\\n\", s.requests, s.duration, s.errors.status,
            s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout, l:percentile(50), l:percentile(99))) end",
            listed.path().display()
        )
        .unwrap();
        Self { script, _keys: listed }
    }

    /// Runs for so many seconds. Every answer must be 200.
    pub(crate) fn run(&self, server: &Server, secs: usize) -> Figures {
        let before = server.cpu_secs();
        let mut wrk = Command::new("taskset");
        wrk.args(["-c", "1", "wrk", "-t1", "-c", CONNECTIONS, "-d", &format!("{secs}s"), "--latency", "-s"]);
        let ran = wrk.arg(self.script.path()).arg(format!("http://127.0.0.1:{}", server.port)).output().unwrap();
        let cpu_secs = server.cpu_secs() - before;
        let text = String::from_utf8(ran.stdout).unwrap();
        let said: Vec<f64> = text.lines().last().unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
        let [requests, duration_us, refused, broken, p50_us, p99_us] = said[..] else {
            unreachable!("wrk said: {text}");
        };
        assert!(refused == 0.0 && broken == 0.0, "{text}");
        Figures { rate: requests / duration_us * 1e6, cpu_secs_per_million: cpu_secs / requests * 1e6, p50_us, p99_us }
    }
}
