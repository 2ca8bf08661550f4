//! `GET /{slug}`: sends visitors on. And `/c/{link id}`: counts those who then did what they were sent for.
//!
//! Neither is limited or counted. A redirect reads memory only and leaves its click to the recorder.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Path};
use actix_web::{Error, HttpRequest, HttpResponse};

use super::error::ApiError;
use super::visitor::{self, Visitor};
use super::{State, client, resource};
use crate::domain::click::{Click, Device, Visit, choose};
use crate::domain::id::LinkId;
use crate::domain::link::{Link, Slug};
use crate::domain::time::Timestamp;
use crate::domain::variant::Label;
use crate::domain::web::{Country, anonymize, referrer_host};
use crate::ids;
use crate::store::Event;

/// A transparent GIF of one pixel (`GIF89a`).
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;";
/// Most characters of what browsers say of themselves that are looked at.
const USER_AGENT_CHARS_MAX: usize = 512;

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    let conversions = resource("/c/{id}", "GET, POST", [web::get().to(pixel), web::post().to(conversion)]);
    let redirects = resource("/{slug}", "GET, HEAD", [web::get().to(redirect), web::head().to(redirect)]);
    routes.service(conversions.wrap(from_fn(not_cached))).service(redirects.wrap(from_fn(not_cached)));
}

/// Each visitor is answered anew; and a 404 or 410, which caches may keep of their own accord (RFC 9110 §15.1), ends
/// when the link is made or opened again.
async fn not_cached<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    Ok(response)
}

async fn redirect(state: web::Data<State>, request: HttpRequest, slug: Path<String>) -> Result<HttpResponse, ApiError> {
    let now = state.clock.now();
    let slug = Slug::new(&slug).map_err(|_no_slug| ApiError::NotFound("link"))?;
    let link = state.store.find_link_by_slug(&slug).ok_or(ApiError::NotFound("link"))?;
    if !link.is_open(now) {
        return Err(ApiError::Gone("link"));
    }
    let visitor = Visitor::of(&request, &link, &state.cookie_key);
    let country = country(&state, &request);
    let won = state.store.find_winner(link.id);
    let won = won.as_ref().and_then(|label| link.terms.variants.find(label.as_str()));
    let earlier = visitor.as_ref().and_then(|visitor| visitor.label(&link));
    let visit = Visit { country, earlier, percent: draw_percent()? };
    let variant = choose(&link, visit, won).ok_or(ApiError::Internal("no variant was chosen", None))?;
    let mut response = HttpResponse::Found().insert_header((header::LOCATION, variant.destination.as_str())).finish();
    // HEAD is no visit: a cookie for it would make the visit that follows no click.
    if state.bots.is_bot(user_agent(&request)) || request.method() == actix_web::http::Method::HEAD {
        return Ok(response);
    }
    if !visitor.as_ref().is_some_and(|visitor| visitor.is_same_session(now)) {
        state.recorder.push(Event::Click(click(&state, &request, &link, &variant.label, country, now)));
    }
    let visitor = visitor.map_or_else(Visitor::new, Ok)?;
    let cookie = visitor.cookie(&link, &variant.label, now, state.is_https(), &state.cookie_key);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

fn click(
    state: &State,
    request: &HttpRequest,
    link: &Link,
    variant: &Label,
    country: Option<Country>,
    now: Timestamp,
) -> Click {
    let agent = state.agents.parse(user_agent(request));
    let named = |name: &str| if name.is_empty() || name == "UNKNOWN" { "other".to_owned() } else { name.to_owned() };
    let referrer = request.headers().get(header::REFERER).and_then(|value| value.to_str().ok());
    Click {
        id: ids::click_id(now),
        link_id: link.id,
        clicked_at: now,
        variant: variant.clone(),
        country,
        referrer: referrer.and_then(referrer_host),
        device: match agent.as_ref().map(|agent| agent.category) {
            Some("pc") => Device::Desktop,
            Some("smartphone" | "mobilephone") => Device::Mobile,
            Some(_) | None => Device::Other,
        },
        browser: named(agent.as_ref().map_or("", |agent| agent.name)),
        os: named(agent.as_ref().map_or("", |agent| agent.os)),
        ip: Some(anonymize(client::address(request, &state.trusted_proxies))),
    }
}

async fn pixel(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let link = convert(&state, &request, &id)?;
    Ok(match &link.terms.conversion_redirect {
        Some(url) => HttpResponse::Found().insert_header((header::LOCATION, url.as_str())).finish(),
        None => HttpResponse::Ok().content_type("image/gif").body(PIXEL),
    })
}

async fn conversion(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let link = convert(&state, &request, &id)?;
    Ok(match &link.terms.conversion_redirect {
        Some(url) => HttpResponse::SeeOther().insert_header((header::LOCATION, url.as_str())).finish(),
        None => HttpResponse::NoContent().finish(),
    })
}

/// Notes a conversion of a visitor whom the link's cookie names.
fn convert(state: &State, request: &HttpRequest, id: &str) -> Result<Arc<Link>, ApiError> {
    let id = LinkId::parse(id).map_err(|_no_id| ApiError::NotFound("link"))?;
    let link = state.store.find_link(id).filter(|link| link.deleted_at.is_none()).ok_or(ApiError::NotFound("link"))?;
    if link.terms.conversion_tracking
        && let Some(visitor) = Visitor::of(request, &link, &state.cookie_key)
        && let Some(variant) = visitor.label(&link).cloned()
    {
        let event = Event::Conversion { link_id: id, visitor: visitor.id(), variant, at: state.clock.now() };
        state.recorder.push(event);
    }
    Ok(link)
}

fn country(state: &State, request: &HttpRequest) -> Option<Country> {
    let name = state.links.country_header.as_ref()?;
    Country::parse(request.headers().get(name.as_str())?.to_str().ok()?).ok()
}

fn user_agent(request: &HttpRequest) -> &str {
    let text = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A header's text is ASCII, so any place is between two characters.
    text.get(..USER_AGENT_CHARS_MAX).unwrap_or(text)
}

/// 0 to 99, each as likely as any other to within a 40-millionth.
fn draw_percent() -> Result<u32, ApiError> {
    let random = getrandom::u32().map_err(visitor::no_randomness)?;
    Ok(u32::try_from(u64::from(random).saturating_mul(100) >> 32).unwrap_or(0))
}
