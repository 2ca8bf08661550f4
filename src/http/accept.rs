//! What a client would rather be answered with: its `Accept`, as far as we have a choice to offer.

use actix_web::http::header::{self, HeaderMap};

/// Whether a client names a media type and does not refuse it: RFC 9110 §12.4.2 has a weight of 0 mean "not acceptable".
/// Ranges such as `*/*` name nothing.
pub(super) fn has(headers: &HeaderMap, media_type: &str) -> bool {
    let lines = headers.get_all(header::ACCEPT).filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| is_wish(item, media_type))
}

fn is_wish(item: &str, media_type: &str) -> bool {
    let mut parts = item.split(';').map(str::trim);
    let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
    is_named && !parts.any(is_zero_weight)
}

/// `q=0`, `q=0.0`, … : what is no number is no refusal.
fn is_zero_weight(parameter: &str) -> bool {
    let weight = parameter.split_once('=').filter(|(name, _weight)| name.trim().eq_ignore_ascii_case("q"));
    weight.is_some_and(|(_name, weight)| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
}
