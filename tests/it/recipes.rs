//! Real proxies that run the very recipes of `data/recipes/`, with other ports and paths only, between a client and
//! a real API, and beside a real klinky.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use regex::Regex;
use tempfile::TempDir;

use crate::harness::Listener;
use crate::process::pass;

/// Where a proxy may listen: below the ports that the system gives to whoever asks for any.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How often it is tried to connect to a proxy that starts, and how long is waited in between: 20 s in all.
const STARTS_MAX: u32 = 1000;
const START_PAUSE: Duration = Duration::from_millis(20);
/// Most bytes of a body that the API takes.
const API_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A recipe that can run here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recipe {
    Nginx,
    Caddy,
    HaProxy,
}

impl Recipe {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::HaProxy => "haproxy",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::Caddy => "Caddyfile",
            Self::HaProxy => "haproxy.cfg",
        }
    }

    /// Where the program is. In CI it must be there; elsewhere, its absence is said.
    fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian keeps servers where users do not look.
        let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
        let found = places.map(|place| place.join(self.program())).find(|file| file.is_file());
        if found.is_none() {
            let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!in_ci, "{} is missing: apt-get install {}", self.program(), self.program());
            eprintln!("SKIPPED: {} is not installed (apt-get install {})", self.program(), self.program());
        }
        found
    }

    /// Writes the recipe into `dir` and answers the command that runs it.
    fn prepare(self, program: &Path, dir: &Path, ports: &Ports) -> Command {
        let mut command = Command::new(program);
        let shown = |path: PathBuf| path.to_str().unwrap().to_owned();
        let in_dir = |name: &str| shown(dir.join(name));
        let (klinky, api, own) = (ports.klinky.to_string(), ports.api.to_string(), ports.own.to_string());
        match self {
            Self::Nginx => {
                let config = copy(
                    self.file(),
                    dir,
                    &[
                        ("127.0.0.1:8080", &klinky),
                        ("127.0.0.1:9000", &api),
                        ("listen 80;", &format!("listen {own};")),
                        ("/run/nginx.pid", &in_dir("nginx.pid")),
                        ("/var/log/nginx", &in_dir("")),
                        ("http {\n", &format!("http {{\n{}", temp_paths(dir))),
                    ],
                );
                // Run by root, its workers must be able to read the directory, too.
                command.args(["-p", &in_dir(""), "-c", &shown(config), "-g", "daemon off; user root;"]);
            }
            Self::Caddy => {
                let config = copy(
                    self.file(),
                    dir,
                    &[
                        ("127.0.0.1:8080", &klinky),
                        ("127.0.0.1:9000", &api),
                        ("admin localhost:2019", "admin off"),
                        (":80 {\n", &format!("http://:{} {{\n\tbind 127.0.0.1\n", ports.own.port())),
                    ],
                );
                command.args(["run", "--adapter", "caddyfile", "--config", &shown(config)]);
                command.env("HOME", dir).env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
            }
            Self::HaProxy => {
                copy("haproxy.lua", dir, &[("127.0.0.1:8080", &klinky)]);
                let config = copy(
                    self.file(),
                    dir,
                    &[
                        ("bind :80 ", &format!("bind {own} ")),
                        ("server api1 127.0.0.1:9000", &format!("server api1 {api}")),
                        ("server klinky1 127.0.0.1:8080", &format!("server klinky1 {klinky}")),
                        ("lua-load-per-thread /etc/haproxy/", &format!("lua-load-per-thread {}", in_dir(""))),
                    ],
                );
                command.args(["-db", "-f", &shown(config)]);
            }
        }
        command
    }
}

/// Where nginx keeps bodies that are too long for its memory.
fn temp_paths(dir: &Path) -> String {
    let dir = dir.display();
    format!("client_body_temp_path {dir}/client; proxy_temp_path {dir}/proxy;\n")
}

/// Copies a recipe with other ports and paths; each must be there to be changed.
fn copy(name: &str, dir: &Path, changes: &[(&str, &str)]) -> PathBuf {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recipes").join(name);
    let mut text = fs::read_to_string(recipe).unwrap();
    for (old, new) in changes {
        assert!(text.contains(old), "{name} has no {old:?}");
        text = text.replace(old, new);
    }
    let copied = dir.join(name);
    fs::write(&copied, text).unwrap();
    copied
}

struct Ports {
    klinky: SocketAddr,
    api: SocketAddr,
    own: SocketAddr,
}

/// A port that nobody listens on now.
fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs of the tests at once begin at different places.
    let begin = std::process::id() % u32::from(PORTS.end - PORTS.start);
    PORTS
        .map(|_attempt| {
            let nth = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let port = PORTS.start + u16::try_from((begin + nth) % u32::from(PORTS.end - PORTS.start)).unwrap();
            SocketAddr::from(([127, 0, 0, 1], port))
        })
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("no port is free")
}

/// A running proxy. It is stopped, by its own id, when this is dropped.
pub(crate) struct Proxy {
    pub(crate) listener: Listener,
    child: Child,
    _dir: TempDir,
}

impl Proxy {
    /// Starts a recipe between clients and an API, and waits until it listens. `None` if its program is not installed.
    pub(crate) fn start(recipe: Recipe, klinky: Listener, api: SocketAddr) -> Option<Self> {
        Self::start_with(recipe, klinky, api, |_config| {})
    }

    /// The same with the part of the recipe that stands behind signs: `#`, and no space.
    pub(crate) fn start_with_pages(recipe: Recipe, klinky: Listener, api: SocketAddr) -> Option<Self> {
        Self::start_with(recipe, klinky, api, |config| {
            let text = fs::read_to_string(config).unwrap();
            let shown = Regex::new(r"(?m)^(\s*)#(\S)").unwrap().replace_all(&text, "$1$2");
            assert_ne!(shown, text);
            fs::write(config, shown.as_ref()).unwrap();
        })
    }

    fn start_with(recipe: Recipe, klinky: Listener, api: SocketAddr, change: impl Fn(&Path)) -> Option<Self> {
        let program = recipe.find()?;
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports { klinky: klinky.0, api, own: free_port() };
        let mut command = recipe.prepare(&program, dir.path(), &ports);
        change(&dir.path().join(recipe.file()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut proxy = Self { listener: Listener(ports.own), child, _dir: dir };
        for _attempt in 0..STARTS_MAX {
            if let Some(status) = proxy.child.try_wait().unwrap() {
                let mut said = String::new();
                proxy.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("{recipe:?} does not start: {status}\n{said}");
            }
            if TcpStream::connect(ports.own).is_ok() {
                proxy.drain();
                return Some(proxy);
            }
            pass(START_PAUSE);
        }
        panic!("{recipe:?} does not listen");
    }

    /// Reads what it says from now on, so that it does not wait for somebody to do so.
    fn drain(&mut self) {
        let mut stderr = self.child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Not killed: nginx's workers would live on.
        let _sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        let _ended = self.child.wait();
    }
}

/// A request as the API got it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    headers: Vec<(String, String)>,
    pub(crate) body_bytes: usize,
}

impl Seen {
    /// All values of a header.
    pub(crate) fn header(&self, wanted: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(name, _value)| name == wanted);
        named.map(|(_name, value)| value.as_str()).collect()
    }

    /// The names of all headers that an API might take for klinky's.
    pub(crate) fn names_like_ours(&self) -> Vec<&str> {
        let names = self.headers.iter().map(|(name, _value)| name.as_str());
        let mut names: Vec<&str> = names.filter(|name| name.contains("klinky")).collect();
        names.sort_unstable();
        names
    }
}

/// A real API behind the proxy: it notes what it gets, and has limit headers of its own. A path such as
/// `/status/404` says what it answers, in its own words.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Api {
    pub(crate) fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (started, address) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let data = Data::new(Arc::clone(&seen));
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(data.clone())
                        .app_data(PayloadConfig::new(API_BODY_BYTES_MAX))
                        .default_service(actix_web::web::to(note))
                };
                let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
                started.send(server.addrs()[0]).unwrap();
                let server = server.run();
                let handle = server.handle();
                actix_web::rt::spawn(server);
                let _dropped = stopped.await;
                handle.stop(false).await;
            });
        });
        Self { address: address.recv().unwrap(), seen, stop: Some(stop) }
    }

    /// All that it got.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _gone = self.stop.take().map(|stop| stop.send(()));
    }
}

async fn note(seen: Data<Arc<Mutex<Vec<Seen>>>>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let headers = request.headers().iter();
    seen.lock().unwrap().push(Seen {
        method: request.method().to_string(),
        uri: request.uri().to_string(),
        headers: headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect(),
        body_bytes: body.len(),
    });
    let status = request.path().strip_prefix("/status/").map_or(200, |status| status.parse().unwrap());
    HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap())
        .insert_header(("X-RateLimit-Limit", "7"))
        .insert_header(("RateLimit", "\"own\";r=7"))
        .insert_header(("X-Own", "yes"))
        .body("the API's answer")
}
