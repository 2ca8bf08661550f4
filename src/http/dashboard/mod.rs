//! The dashboard: pages for people, whose script asks the same API as everybody else. They know no secret and
//! need no token themselves; what they show comes from calls that do.
//!
//! | listener | page | who |
//! |---|---|---|
//! | public | `/dashboard` | account holders, with a session token |
//! | admin | `/` | operators, with the admin token |
//!
//! The files lie in `data/dashboard/`, with what else is built in, and go out as they are: plain modules, no build step.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpResponse, Resource, web};

use super::{etag, nothing_here, resource};

/// What a page may load and do: nothing but its own files and calls to its own server. No text can become markup or
/// script (Trusted Types), no form is sent, nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file that is built in.
#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($name:literal, $kind:expr) => {
        File { path: concat!("/", $name), kind: $kind, text: include_str!(concat!("../../../data/dashboard/", $name)) }
    };
}

const ACCOUNT_PAGE: File = file!("account.html", HTML);
const OPERATOR_PAGE: File = file!("operator.html", HTML);

/// What both pages load.
const SHARED: [File; 8] = [
    file!("style.css", CSS),
    file!("icon.svg", SVG),
    file!("api.js", SCRIPT),
    file!("chart.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("keys.js", SCRIPT),
    file!("usage.js", SCRIPT),
];
const ACCOUNT_FILES: [File; 2] = [file!("account.js", SCRIPT), file!("account-links.js", SCRIPT)];
const OPERATOR_FILES: [File; 5] = [
    file!("operator.js", SCRIPT),
    file!("operator-accounts.js", SCRIPT),
    file!("operator-account.js", SCRIPT),
    file!("operator-plans.js", SCRIPT),
    file!("operator-server.js", SCRIPT),
];

/// The account holders' page.
pub(crate) fn account_routes(routes: &mut web::ServiceConfig) {
    let files = SHARED.into_iter().chain(ACCOUNT_FILES).map(|file| serve(file.path, file));
    let pages = ["", "/"].map(|path| serve(path, ACCOUNT_PAGE));
    routes.service(scope(files.chain(pages)));
}

/// The operators' page.
pub(crate) fn operator_routes(routes: &mut web::ServiceConfig) {
    let files = SHARED.into_iter().chain(OPERATOR_FILES).map(|file| serve(file.path, file));
    routes.service(scope(files));
    routes.service(serve("/", OPERATOR_PAGE).wrap(from_fn(etag::validate)).wrap(from_fn(confine)));
}

fn scope(files: impl Iterator<Item = Resource>) -> impl actix_web::dev::HttpServiceFactory + 'static {
    files
        .fold(web::scope("/dashboard"), actix_web::Scope::service)
        .default_service(web::to(nothing_here))
        .wrap(from_fn(etag::validate))
        .wrap(from_fn(confine))
}

fn serve(path: &str, file: File) -> Resource {
    let answer = move || async move { HttpResponse::Ok().content_type(file.kind).body(file.text) };
    resource(path, "GET, HEAD", [web::get().to(answer), web::head().to(answer)])
}

/// Gives an answer the headers that hold a browser to the policy.
async fn confine<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
