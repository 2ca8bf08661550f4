//! The API that stands behind a proxy in the recipes' tests: real, and it notes what it gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};

use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};

/// Most bytes of a body that the API takes.
const API_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The limit headers of its own, in the order of klinky's.
pub(crate) const OWN_LIMITS: [(&str, &str); 5] = [
    ("x-ratelimit-limit", "7"),
    ("x-ratelimit-remaining", "6"),
    ("x-ratelimit-reset", "5"),
    ("ratelimit-policy", "\"own\";q=7"),
    ("ratelimit", "\"own\";r=6"),
];

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
    let mut answer = HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap());
    for header in OWN_LIMITS {
        answer.insert_header(header);
    }
    answer.insert_header(("X-Own", "yes")).body("the API's answer")
}
