//! The floor: an actix-web server that does nothing but answer, with headers as long as the decision's.

use actix_web::{App, HttpResponse, HttpServer, web};

/// With which the bench starts itself as this server; the port follows.
pub(crate) const FLAG: &str = "--bare";

pub(crate) const HEADERS: [(&str, &str); 9] = [
    ("x-ratelimit-limit", "4294967295"),
    ("x-ratelimit-remaining", "4294967000"),
    ("x-ratelimit-reset", "1705312800"),
    ("ratelimit-policy", "\"hour\";q=4294967295;w=3600"),
    ("ratelimit", "\"hour\";r=4294967000;t=1800"),
    ("x-klinky-account", "01a20cca-8640-7459-afaa-b3e0a734a0aa"),
    ("x-klinky-plan", "scale"),
    ("x-klinky-key", "01a20cca-865d-71fa-be3e-6290d7486385"),
    ("x-request-id", "0123456789abcdef-123456"),
];

async fn answer() -> HttpResponse {
    let mut response = HttpResponse::Ok();
    for header in HEADERS {
        response.insert_header(header);
    }
    response.finish()
}

pub(crate) fn serve(port: u16) {
    let server = HttpServer::new(|| App::new().service(web::resource("/check").to(answer))).workers(1);
    actix_web::rt::System::new().block_on(server.bind(("127.0.0.1", port)).unwrap().run()).unwrap();
}
