//! The one guarded call of the built-in API so far: it answers, and counts like any other.

use actix_web::HttpResponse;

pub(crate) async fn ping() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"ok": true}))
}
