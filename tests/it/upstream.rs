//! A real server to stand behind the gateway, which says what a test has it say, and what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use klinky::config::{Cli, Command, GatewaySettings};
use rustix::net::sockopt;

use crate::harness::Server;

/// How long a test waits for the upstream to be asked.
const ASKED_TIMEOUT: Duration = Duration::from_secs(20);

/// A server. Its threads live as long as their connections.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    asked: Mutex<Receiver<Asked>>,
}

/// A request as the upstream got it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether it had a body, and all of it.
    pub(crate) is_whole: bool,
}

impl Asked {
    /// The value of a header; fails if it stands twice.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        let values = self.values(wanted);
        assert!(values.len() <= 1, "{wanted} stands twice in {:?}", self.headers);
        values.first().copied()
    }

    /// All values of a header.
    pub(crate) fn values(&self, wanted: &str) -> Vec<&str> {
        self.headers.iter().filter(|(name, _value)| name == wanted).map(|(_name, value)| value.as_str()).collect()
    }
}

impl Upstream {
    /// A server that does what `serve` does with each connection, and its number.
    pub(crate) fn start(serve: impl Fn(TcpStream, usize, &Sender<Asked>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, asked) = mpsc::channel();
        let (count, serve) = (Arc::clone(&connections), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (number, serve, sender) =
                    (count.fetch_add(1, Ordering::SeqCst), Arc::clone(&serve), sender.clone());
                std::thread::spawn(move || serve(stream, number, &sender));
            }
        });
        Self { address, connections, asked: Mutex::new(asked) }
    }

    /// A server that answers each request with these bytes and keeps the connection.
    pub(crate) fn answering(raw: impl Into<Vec<u8>>) -> Self {
        let raw = raw.into();
        Self::start(move |mut stream, _number, sender| {
            while let Some(asked) = read(&mut stream) {
                sender.send(asked).unwrap_or_default();
                if stream.write_all(&raw).is_err() {
                    break;
                }
            }
        })
    }

    /// A server that answers each request with 200 and a short body.
    pub(crate) fn plain() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    }

    /// The same, but each connection ends after its first answer.
    pub(crate) fn answering_once(raw: impl Into<Vec<u8>>) -> Self {
        let raw = raw.into();
        Self::start(move |mut stream, _number, sender| {
            if let Some(asked) = read(&mut stream) {
                sender.send(asked).unwrap_or_default();
                // The end comes with the answer, in one segment: by the time of the next request it is known.
                sockopt::set_tcp_cork(&stream, true).unwrap();
                let _gone = stream.write_all(&raw);
                end(&stream);
            }
        })
    }

    /// The next request that it got.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.lock().unwrap().recv_timeout(ASKED_TIMEOUT).expect("the upstream was not asked")
    }

    /// Fails if it got a request that the test did not look at.
    pub(crate) fn assert_not_asked(&self) {
        let asked = self.asked.lock().unwrap().try_recv();
        assert!(asked.is_err(), "the upstream was asked: {asked:?}");
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What the gateway runs on, from its flags: this upstream's API below `/v1`.
    pub(crate) fn settings(&self, flags: &[&str]) -> GatewaySettings {
        settings(self.address, flags)
    }

    /// A server in front of this one.
    pub(crate) fn guarded(&self, flags: &[&str]) -> Server {
        let gateway = self.settings(flags);
        Server::start_with(move |settings| settings.gateway = Some(gateway.clone()))
    }
}

/// What the gateway runs on in front of an address.
pub(crate) fn settings(address: SocketAddr, flags: &[&str]) -> GatewaySettings {
    let upstream = format!("http://{address}");
    let prefix = ["--upstream-prefix", "/v1"];
    let prefix = prefix.into_iter().filter(|_prefix| !flags.contains(&"--upstream-prefix"));
    let args = ["klinky", "serve", "--upstream", &upstream].into_iter().chain(prefix).chain(flags.iter().copied());
    let cli = Cli::try_parse_from(args).unwrap();
    let Command::Serve(args) = cli.command else { panic!("not serve") };
    args.check().unwrap().gateway.unwrap()
}

/// Reads one request, as far as it comes; `None` if the connection ends before one.
pub(crate) fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0);
    let headers = lines.iter().map(|line| line.split_once(':').unwrap());
    let headers: Vec<_> = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let mut asked = Asked { line, headers, body: Vec::new(), is_whole: true };
    if let Some(length) = asked.header("content-length").map(|length| length.parse().unwrap()) {
        let read = reader.take(length).read_to_end(&mut asked.body);
        asked.is_whole = read.is_ok_and(|read| u64::try_from(read).unwrap() == length);
    } else if asked.header("transfer-encoding").is_some() {
        asked.is_whole = read_chunks(&mut reader, &mut asked.body).is_some();
    }
    Some(asked)
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = u64::from_str_radix(line.trim(), 16).ok()?;
        let read = reader.take(length).read_to_end(body).ok()?;
        (u64::try_from(read).unwrap() == length).then_some(())?;
        line.clear();
        reader.read_line(&mut line).ok()?;
        if length == 0 {
            return Some(());
        }
    }
}

/// Ends a connection in good order: what was written arrives.
pub(crate) fn end(stream: &TcpStream) {
    let _gone = stream.shutdown(Shutdown::Write);
    // Until the other side has closed too, so that no reset overtakes the answer.
    let _rest = std::io::copy(&mut &*stream, &mut std::io::sink());
}
