//! The servers, each a process of its own on the first core.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use std::{fs, thread};

use crate::bare;

/// A running server; it ends with the last of its copies.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Where klinky's admin listener is.
    admin: Option<u16>,
    process: Rc<Process>,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM, so that nginx takes its worker along; a paused server does not heed it.
        self.signal("TERM");
        self.signal("CONT");
        let _waited = self.0.wait();
    }
}

impl Process {
    fn signal(&self, name: &str) {
        let _sent = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status();
    }
}

impl Server {
    /// Until it is resumed it does nothing.
    pub(crate) fn pause(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Waits until it answers.
    fn start(command: &mut Command, port: u16) -> Self {
        let process = command.stdout(Stdio::null()).spawn().unwrap();
        for _try in 0..1000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Self { port, admin: None, process: Rc::new(Process(process)) }
    }

    /// Waits until klinky has read all accounts and keys: its metrics wait for that.
    pub(crate) fn wait_for_metrics(&self) {
        let mut admin = TcpStream::connect(("127.0.0.1", self.admin.unwrap())).unwrap();
        admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        admin.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Memory that it holds now, in MB.
    pub(crate) fn resident_mb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kb: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kb / 1000
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(self) {
        self.process.signal("KILL");
    }

    /// CPU that it and its children have used so far, in seconds.
    pub(crate) fn cpu_secs(&self) -> f64 {
        let pid = self.process.0.id().to_string();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let ticks = children.split_whitespace().chain([pid.as_str()]).map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            // After the name, which may hold spaces: the 12th and 13th are user and system time.
            let fields: Vec<u64> =
                stat.rsplit_once(')').unwrap().1.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            fields[11] + fields[12]
        });
        // The unit of these figures is a hundredth of a second on every Linux.
        f64::from(u32::try_from(ticks.sum::<u64>()).unwrap()) / 100.0
    }
}

fn on_first_core(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program);
    command
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn bare() -> Server {
    let port = free_port();
    let own = std::env::current_exe().unwrap();
    Server::start(on_first_core(&own).arg(bare::FLAG).arg(port.to_string()), port)
}

/// Our own server.
pub(crate) struct Klinky<'f> {
    pub(crate) data: PathBuf,
    pub(crate) flags: &'f [&'f str],
}

pub(crate) fn klinky(klinky: &Klinky<'_>) -> Server {
    start(klinky, on_first_core(Path::new(env!("CARGO_BIN_EXE_klinky"))))
}

/// As [`klinky`], on all cores.
pub(crate) fn free_klinky(klinky: &Klinky<'_>) -> Server {
    start(klinky, Command::new(env!("CARGO_BIN_EXE_klinky")))
}

fn start(klinky: &Klinky<'_>, mut command: Command) -> Server {
    let (port, admin) = (free_port(), free_port());
    command.args(["serve", "--workers", "1", "--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--admin-listen", &format!("127.0.0.1:{admin}")]).arg("--data-dir").arg(&klinky.data);
    let log = fs::File::create(klinky.data.with_extension("log")).unwrap();
    let server = Server::start(command.args(klinky.flags).stderr(log), port);
    Server { admin: Some(admin), ..server }
}

pub(crate) fn restore(dump: &Path, data: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klinky"));
    assert!(command.arg("restore").arg(dump).arg("--data-dir").arg(data).status().unwrap().success());
}

/// What nginx does for a request besides counting and answering.
#[derive(Clone, Copy)]
pub(crate) enum Nginx {
    /// It opens the file that it answers with and writes a line to its access log, as it does unless it is told otherwise.
    AsItComes,
    /// It writes no log.
    NoLog,
    /// Nor does it open the file, which it keeps open (`open_file_cache`).
    FileKeptOpen,
}

/// nginx that counts by key in memory and answers with an empty file; `None` where it is not installed.
pub(crate) fn nginx(dir: &Path, does: Nginx) -> Option<Server> {
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
        .iter()
        .map(Path::new)
        .find(|path| path.exists())?;
    let (name, settings) = match does {
        Nginx::AsItComes => ("nginx", "access_log access.log;"),
        Nginx::NoLog => ("nginx-no-log", "access_log off;"),
        Nginx::FileKeptOpen => ("nginx-kept-open", "access_log off; open_file_cache max=10; open_file_cache_valid 1h;"),
    };
    let (port, dir) = (free_port(), dir.join(name));
    fs::create_dir_all(dir.join("www")).unwrap();
    fs::write(dir.join("www/check"), "").unwrap();
    let at = dir.display();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .collect();
    let headers: String = bare_headers();
    let config = format!(
        "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log crit; events {{ worker_connections 4096; }}
        user root; http {{ {settings} keepalive_requests 100000000; {temp}
        limit_req_zone $http_x_api_key zone=keys:50m rate=1000000r/s;
        server {{ listen 127.0.0.1:{port}; root {at}/www; location / {{ limit_req zone=keys burst=1000000 nodelay; {headers} }} }} }}"
    );
    fs::write(dir.join("nginx.conf"), config).unwrap();
    let mut command = on_first_core(program);
    Some(Server::start(command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf")), port))
}

/// throttlecrab, which counts in memory too; `None` where it is not installed (`cargo install throttlecrab-server`).
pub(crate) fn throttlecrab() -> Option<Server> {
    let paths = std::env::var_os("PATH")?;
    let program =
        std::env::split_paths(&paths).map(|dir| dir.join("throttlecrab-server")).find(|path| path.exists())?;
    let port = free_port();
    let mut command = on_first_core(&program);
    command.args(["--http", "--http-host", "127.0.0.1", "--http-port", &port.to_string(), "--log-level", "error"]);
    Some(Server::start(command.args(["--store-capacity", "100000"]), port))
}

fn bare_headers() -> String {
    bare::HEADERS.iter().map(|(name, value)| format!("add_header {name} '{value}';")).collect()
}
