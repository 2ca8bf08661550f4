//! A server of our own for each test, and exchanges with it that print as snapshots.

use std::fmt::{self, Write as _};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use klinky::clock::ManualClock;
use klinky::config::{LinkSettings, LogFormat, LogSettings, ServeSettings};
use klinky::domain::key::KeyFormat;
use klinky::domain::time::Timestamp;
use klinky::secrets::Secret;
use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;
use tracing_subscriber::filter::Targets;

/// The admin token of every test server.
pub(crate) const ADMIN_TOKEN: &str = "test-admin-token-0123456789";
/// The JWT secret of every test server.
pub(crate) const JWT_SECRET: &str = "test-jwt-secret-0123456789-0123456789";
/// What the clock of every test server shows at first.
pub(crate) const START: &str = "2024-01-15T14:30:00Z";
/// How long an answer may take before a test fails.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// An instant from its text.
pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// Settings for a server in `dir`, on ports that the system picks.
pub(crate) fn settings(dir: &Path) -> ServeSettings {
    ServeSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.to_owned(),
        flush_within: Duration::from_millis(100),
        key_format: KeyFormat::new("klinky").unwrap(),
        workers: 2,
        cors_origins: Vec::new(),
        trusted_proxies: Vec::new(),
        issuer: None,
        log: LogSettings { filter: Targets::default(), format: LogFormat::Text },
        links: LinkSettings {
            public_url: None,
            country_header: Some("cf-ipcountry".to_owned()),
            click_retention_days: 90,
        },
        usage_retention_days: 30,
        gateway: None,
        backups: None,
        demo: false,
        admin_token: Some(Secret::new(ADMIN_TOKEN)),
        jwt_secret: Some(Secret::new(JWT_SECRET)),
    }
}

/// A running server. It is stopped cleanly when it is dropped.
pub(crate) struct Server {
    pub(crate) clock: ManualClock,
    pub(crate) public: Listener,
    pub(crate) admin: Listener,
    dir: Arc<TempDir>,
    change: Change,
    running: Option<(tokio::sync::oneshot::Sender<()>, JoinHandle<()>)>,
}

/// What a server's settings differ in.
type Change = Arc<dyn Fn(&mut ServeSettings) + Send + Sync>;

/// A listener of a server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listener(pub(crate) SocketAddr);

/// An account with one key, as the tests set it up.
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) key_id: String,
}

impl Server {
    /// Starts a server on a new directory.
    pub(crate) fn start() -> Self {
        Self::start_with(|_settings| {})
    }

    /// The same, with settings changed.
    pub(crate) fn start_with(change: impl Fn(&mut ServeSettings) + Send + Sync + 'static) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(dir, ManualClock::at(at(START)), Arc::new(change))
    }

    fn start_in(dir: Arc<TempDir>, clock: ManualClock, change: Change) -> Self {
        let mut settings = settings(&dir.path().join("db"));
        change(&mut settings);
        let (started, addresses) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server_clock = Arc::new(clock.clone());
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = klinky::http::start(&settings, server_clock).await.unwrap();
                started.send((server.public_address(), server.admin_address())).unwrap();
                let _dropped = stopped.await;
                server.stop().await.unwrap();
            });
        });
        let (public, admin) = addresses.recv().expect("the server did not start; its panic is above");
        let (public, admin) = (Listener(public), Listener(admin));
        Self { clock, public, admin, dir, change, running: Some((stop, thread)) }
    }

    /// Stops the server cleanly and starts it again on the same directory and clock.
    pub(crate) fn restart(mut self) -> Self {
        self.halt();
        Self::start_in(Arc::clone(&self.dir), self.clock.clone(), Arc::clone(&self.change))
    }

    /// Stops the server cleanly; its directory stays until this is dropped.
    pub(crate) fn halt(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _gone = stop.send(());
            thread.join().expect("the server panicked");
        }
    }

    /// Moves the clock to an instant.
    pub(crate) fn set_clock(&self, text: &str) {
        self.clock.set(at(text));
    }

    /// An admin call that must succeed; its JSON answer, or null if it has none.
    pub(crate) fn admin_ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.admin.exchange(&admin_request(method, path, &body.to_string()));
        assert!((200..300).contains(&answer.status), "{answer}");
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// An account on `plan` with one key.
    pub(crate) fn account(&self, plan: &str) -> Account {
        let account = self.admin_ok("POST", "/accounts", &serde_json::json!({"name": "Acme", "plan": plan}));
        let id = account["id"].as_str().unwrap().to_owned();
        let (key_id, key) = self.key(&id);
        Account { id, key, key_id }
    }

    /// One more key of an account: its id, and the key.
    pub(crate) fn key(&self, account_id: &str) -> (String, String) {
        let path = format!("/accounts/{account_id}/keys");
        let issued = self.admin_ok("POST", &path, &serde_json::json!({"name": "test"}));
        (issued["id"].as_str().unwrap().to_owned(), issued["key"].as_str().unwrap().to_owned())
    }

    /// A session token of an account, valid for an hour.
    pub(crate) fn token(&self, account_id: &str) -> String {
        let answer = self.admin_ok("POST", &format!("/accounts/{account_id}/tokens"), &serde_json::json!({}));
        answer["token"].as_str().unwrap().to_owned()
    }

    /// A guarded request with a key.
    pub(crate) fn ping(&self, key: &str) -> Exchange {
        self.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {key}"))
    }

    /// What an account has used in the running window.
    pub(crate) fn used(&self, account_id: &str) -> u64 {
        self.admin_ok("GET", &format!("/accounts/{account_id}/rate-limit"), &Value::Null)["used"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _gone = stop.send(());
            // A panic of the server's was shown; a second one in a drop would abort the tests.
            let _panicked = thread.join();
        }
    }
}

/// The text of an admin request with the admin token; the path is below `/admin/v1`.
pub(crate) fn admin_request(method: &str, path: &str, body: &str) -> String {
    let body = if body == "null" { "" } else { body };
    format!("{method} /admin/v1{path}\nAuthorization: Bearer {ADMIN_TOKEN}\n\n{body}")
}

/// A request and its answer. Prints as a snapshot: our headers only, ids and secrets by their form.
pub(crate) struct Exchange {
    request: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Listener {
    /// Sends a request and reads the answer, on a connection of its own.
    ///
    /// The text is a request line without the version, header lines, an empty line, and the body.
    /// `Host`, `Connection: close` and, if there is a body, `Content-Length` are added.
    pub(crate) fn exchange(self, text: &str) -> Exchange {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let mut raw = format!("{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.0);
        for header in headers.lines() {
            write!(raw, "{header}\r\n").unwrap();
        }
        if !body.is_empty() {
            write!(raw, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        write!(raw, "\r\n{body}").unwrap();
        self.exchange_raw(text, raw.as_bytes())
    }

    /// Sends these very bytes. `shown` stands for them in the snapshot.
    pub(crate) fn exchange_raw(self, shown: &str, raw: &[u8]) -> Exchange {
        let mut stream = self.connect();
        stream.write_all(raw).unwrap();
        Exchange::read(shown, &mut stream)
    }

    /// A connection to send anything on.
    pub(crate) fn connect(self) -> TcpStream {
        let stream = TcpStream::connect(self.0).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        stream
    }
}

impl Exchange {
    /// Reads one answer from a stream: its head, and as much of a body as it announces.
    pub(crate) fn read(shown: &str, stream: &mut TcpStream) -> Self {
        let head = read_head(stream);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let find = |wanted: &str| headers.iter().find(|(name, _value)| name == wanted).map(|(_name, value)| value);
        let bodiless = shown.starts_with("HEAD ") || status == 204 || status == 304;
        let body = match find("content-length").filter(|_length| !bodiless) {
            Some(length) => read_exactly(stream, length.parse().unwrap()),
            None if find("transfer-encoding").is_some() && !bodiless => read_chunks(stream),
            None => Vec::new(),
        };
        Self { request: shown.to_owned(), status, headers, body: String::from_utf8(body).unwrap() }
    }

    /// The value of a header; fails if it stands twice.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(name, _value)| name == wanted).map(|(_name, value)| value);
        let found = values.next();
        assert!(values.next().is_none(), "{wanted} stands twice in {:?}", self.headers);
        found.map(String::as_str)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// The same, or nothing if the connection breaks before a whole answer has come.
    pub(crate) fn try_read(shown: &str, stream: &mut TcpStream) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("no Content-Length").parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let (request, body) = (shown.to_owned(), String::from_utf8(body).unwrap());
        Some(Self { request, status, headers: Vec::new(), body })
    }

    /// The `detail` of an error.
    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_else(|| panic!("no detail in {self}")).to_owned()
    }

    /// What is left according to the headers.
    pub(crate) fn remaining(&self) -> u64 {
        self.header("x-ratelimit-remaining").expect("no X-RateLimit-Remaining").parse().unwrap()
    }
}

/// Headers of every answer, which one test looks at: snapshots leave them out.
const COMMON_HEADERS: [&str; 6] = ["date", "connection", "content-length", "x-request-id", "transfer-encoding", "vary"];

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}\n\n{}\n", self.request.trim_end(), self.status);
        let mut headers: Vec<_> =
            self.headers.iter().filter(|(name, _value)| !COMMON_HEADERS.contains(&name.as_str())).collect();
        headers.sort();
        for (name, value) in headers {
            writeln!(text, "{name}: {value}")?;
        }
        if !self.body.is_empty() {
            writeln!(text, "\n{}", self.body)?;
        }
        f.write_str(&redact(text.trim_end()))
    }
}

/// Replaces what differs from run to run, if it has the right form.
pub(crate) fn redact(text: &str) -> String {
    static FORMS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let form = |pattern: &str| Regex::new(pattern).unwrap();
        vec![
            (form("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), "<id>"),
            (form("[a-z0-9]+_live_[0-9A-Za-z]{32}"), "<key>"),
            (form("[a-z0-9]+_live_[0-9A-Za-z]{4}…"), "<display>"),
            (form(r"eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+\.[0-9A-Za-z_-]*"), "<jwt>"),
            (form(ADMIN_TOKEN), "<admin token>"),
            (form("\"sha256\":\"[0-9a-f]{64}\""), "\"sha256\":\"<hash>\""),
            (form(r#""latency":\[\d+(,\d+){11}\]"#), "\"latency\":[<counts>]"),
            (form("etag: \"[0-9a-f]{64}\""), "etag: <etag>"),
            (form(r"127\.0\.0\.1:\d+"), "<address>"),
            (
                form(r"k_[0-9a-f]{8}=[0-9a-f]{32}\.([0-9a-f]{8}\.\d+)\.[0-9a-f]{32}"),
                "k_<link>=<visitor>.$1.<signature>",
            ),
        ]
    });
    FORMS.iter().fold(text.to_owned(), |text, (form, name)| form.replace_all(&text, *name).into_owned())
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        // Not `read`: a machine that is paused interrupts it.
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("no answer in time: {error} after {:?}", String::from_utf8_lossy(&head));
        });
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn read_exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body was cut off");
    body
}

fn read_chunks(stream: &mut TcpStream) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(read_exactly(stream, 1));
        }
        let length = usize::from_str_radix(String::from_utf8(line).unwrap().trim(), 16).unwrap();
        body.extend(read_exactly(stream, length));
        read_exactly(stream, 2);
        if length == 0 {
            return body;
        }
    }
}
