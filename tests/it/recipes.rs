//! Real proxies that run the very recipes of `data/recipes/`, with other ports and paths only, between a client and
//! a real API, and beside a real klinky.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use regex::Regex;
use tempfile::TempDir;

use crate::harness::Listener;
use crate::process::{find_program, pass};

/// Where a proxy may listen: below the ports that the system gives to whoever asks for any.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How far two runs of the tests begin from each other if one starts right after the other: more than a run needs.
const PORTS_APART: u32 = 1009;
/// How often it is tried to connect to a proxy that starts, and how long is waited in between: 20 s in all.
const STARTS_MAX: u32 = 1000;
const START_PAUSE: Duration = Duration::from_millis(20);

/// A recipe that can run here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recipe {
    Nginx,
    Caddy,
    HaProxy,
    Envoy,
    Traefik,
}

impl Recipe {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::HaProxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
        }
    }

    /// How to install it.
    fn installation(self) -> &'static str {
        match self {
            Self::Nginx => "apt-get install nginx",
            Self::Caddy => "apt-get install caddy",
            Self::HaProxy => "apt-get install haproxy",
            Self::Envoy | Self::Traefik => "pip install -r tests/it/fixtures/proxies.txt",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::Caddy => "Caddyfile",
            Self::HaProxy => "haproxy.cfg",
            Self::Envoy => "envoy.yaml",
            Self::Traefik => "traefik.yml",
        }
    }

    /// Whether clients see klinky's limit headers with answers of the API's. Where they do not, the API does.
    pub(crate) fn shows_limits(self) -> bool {
        match self {
            Self::Nginx | Self::Caddy | Self::HaProxy | Self::Envoy => true,
            Self::Traefik => false,
        }
    }

    /// Writes the recipe into `dir`, gives the command what it needs to run it, and answers where it stands.
    fn prepare(self, command: &mut Command, dir: &Path, ports: &Ports) -> PathBuf {
        match self {
            Self::Nginx => prepare_nginx(command, dir, ports),
            Self::Caddy => prepare_caddy(command, dir, ports),
            Self::HaProxy => prepare_haproxy(command, dir, ports),
            Self::Envoy => prepare_envoy(command, dir, ports),
            Self::Traefik => prepare_traefik(command, dir, ports),
        }
    }

    /// Whether it listens and has read its recipe: Traefik listens first, and knows no path until then.
    fn is_ready(self, proxy: Listener) -> bool {
        let listens = TcpStream::connect(proxy.0).is_ok();
        match self {
            Self::Nginx | Self::Caddy | Self::HaProxy | Self::Envoy => listens,
            Self::Traefik => listens && proxy.exchange("GET /").status != 404,
        }
    }
}

fn prepare_nginx(command: &mut Command, dir: &Path, ports: &Ports) -> PathBuf {
    let config = copy(
        Recipe::Nginx.file(),
        dir,
        &[
            ("127.0.0.1:8080", &ports.klinky.to_string()),
            ("127.0.0.1:9000", &ports.api.to_string()),
            ("listen 80;", &format!("listen {};", ports.own)),
            ("/run/nginx.pid", &in_dir(dir, "nginx.pid")),
            ("/var/log/nginx", &in_dir(dir, "")),
            ("http {\n", &format!("http {{\n{}", temp_paths(dir))),
        ],
    );
    // Run by root, its workers must be able to read the directory, too.
    command.args(["-p", &in_dir(dir, ""), "-g", "daemon off; user root;", "-c"]).arg(&config);
    config
}

fn prepare_caddy(command: &mut Command, dir: &Path, ports: &Ports) -> PathBuf {
    let config = copy(
        Recipe::Caddy.file(),
        dir,
        &[
            ("127.0.0.1:8080", &ports.klinky.to_string()),
            ("127.0.0.1:9000", &ports.api.to_string()),
            ("admin localhost:2019", "admin off"),
            (":80 {\n", &format!("http://:{} {{\n\tbind 127.0.0.1\n", ports.own.port())),
        ],
    );
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&config);
    command.env("HOME", dir).env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
    config
}

fn prepare_haproxy(command: &mut Command, dir: &Path, ports: &Ports) -> PathBuf {
    copy("haproxy.lua", dir, &[("127.0.0.1:8080", &ports.klinky.to_string())]);
    let config = copy(
        Recipe::HaProxy.file(),
        dir,
        &[
            ("bind :80 ", &format!("bind {} ", ports.own)),
            ("server api1 127.0.0.1:9000", &format!("server api1 {}", ports.api)),
            ("server klinky1 127.0.0.1:8080", &format!("server klinky1 {}", ports.klinky)),
            ("lua-load-per-thread /etc/haproxy/", &format!("lua-load-per-thread {}", in_dir(dir, ""))),
        ],
    );
    command.args(["-db", "-f"]).arg(&config);
    config
}

fn prepare_envoy(command: &mut Command, dir: &Path, ports: &Ports) -> PathBuf {
    let at = |address: SocketAddr| format!("address: {}, port_value: {} ", address.ip(), address.port());
    let config = copy(
        Recipe::Envoy.file(),
        dir,
        &[
            // Another Envoy must not share its port: by default any may.
            ("- name: api\n      address:", "- name: api\n      enable_reuse_port: false\n      address:"),
            ("address: 0.0.0.0, port_value: 80 ", &at(ports.own)),
            ("address: 127.0.0.1, port_value: 8080 ", &at(ports.klinky)),
            ("address: 127.0.0.1, port_value: 9000 ", &at(ports.api)),
        ],
    );
    // Without hot restarts several can run at once.
    command.args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warn", "-c"]).arg(&config);
    config
}

/// Its static configuration is the one that the head of the recipe tells its reader to have.
fn prepare_traefik(command: &mut Command, dir: &Path, ports: &Ports) -> PathBuf {
    let dynamic = dir.join("dynamic");
    fs::create_dir(&dynamic).unwrap();
    let (klinky, api) = (ports.klinky.to_string(), ports.api.to_string());
    let recipe = copy(Recipe::Traefik.file(), &dynamic, &[("127.0.0.1:8080", &klinky), ("127.0.0.1:9000", &api)]);
    let text = fs::read_to_string(&recipe).unwrap();
    let told = text.lines().filter_map(|line| line.strip_prefix("#        "));
    let told: String = told.map(|line| format!("{line}\n")).collect();
    let (own, read) = (format!("\"{}\"", ports.own), in_dir(dir, "dynamic"));
    let told = replaced("its head", &told, &[("\":80\"", &own), ("/etc/traefik/dynamic", &read)]);
    // It must not ask its makers whether there is a newer one.
    let silent = "global: {checkNewVersion: false, sendAnonymousUsage: false}\n";
    let config = dir.join("static.yml");
    fs::write(&config, told + silent).unwrap();
    command.arg("--configFile").arg(config);
    recipe
}

fn in_dir(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

/// Where nginx keeps bodies that are too long for its memory.
fn temp_paths(dir: &Path) -> String {
    let dir = dir.display();
    format!("client_body_temp_path {dir}/client; proxy_temp_path {dir}/proxy;\n")
}

/// Copies a recipe with other ports and paths.
fn copy(name: &str, dir: &Path, changes: &[(&str, &str)]) -> PathBuf {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recipes").join(name);
    let copied = dir.join(name);
    fs::write(&copied, replaced(name, &fs::read_to_string(recipe).unwrap(), changes)).unwrap();
    copied
}

/// What is to be changed must be there.
fn replaced(name: &str, text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{name} has no {old:?}");
        text.replace(old, new)
    })
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
    let begin = std::process::id() % u32::from(PORTS.end - PORTS.start) * PORTS_APART;
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
    recipe: Recipe,
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

    /// The same with a part of the recipe changed.
    pub(crate) fn start_changed(
        recipe: Recipe,
        klinky: Listener,
        api: SocketAddr,
        change: (&str, &str),
    ) -> Option<Self> {
        Self::start_with(recipe, klinky, api, |config| {
            let text = fs::read_to_string(config).unwrap();
            fs::write(config, replaced(recipe.file(), &text, &[change])).unwrap();
        })
    }

    fn start_with(recipe: Recipe, klinky: Listener, api: SocketAddr, change: impl Fn(&Path)) -> Option<Self> {
        let program = find_program(recipe.program(), recipe.installation())?;
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports { klinky: klinky.0, api, own: free_port() };
        let mut command = Command::new(program);
        change(&recipe.prepare(&mut command, dir.path(), &ports));
        // Some say on the one what is wrong, some on the other.
        let (mut said, end) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(end.try_clone().unwrap()).stderr(end);
        let child = command.spawn().unwrap();
        drop(command);
        let mut proxy = Self { recipe, listener: Listener(ports.own), child, _dir: dir };
        for _attempt in 0..STARTS_MAX {
            if let Some(status) = proxy.child.try_wait().unwrap() {
                panic!("{recipe:?} does not start: {status}\n{}", std::io::read_to_string(said).unwrap());
            }
            if recipe.is_ready(proxy.listener) {
                // It must not wait for somebody to read the rest.
                std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
                return Some(proxy);
            }
            pass(START_PAUSE);
        }
        panic!("{recipe:?} does not listen");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        match self.recipe {
            // Killed, it would leave its workers behind.
            Recipe::Nginx => {
                let _sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
            }
            // Traefik takes 2 s to end by itself.
            Recipe::Caddy | Recipe::HaProxy | Recipe::Envoy | Recipe::Traefik => {
                let _killed = self.child.kill();
            }
        }
        let _ended = self.child.wait();
    }
}
