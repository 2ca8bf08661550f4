//! `POST /check` with JSON: the question of a server that asks by itself, and its answer.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};

use super::original::Original;
use super::{decide, known, remember, set_account};
use crate::domain::decision::Cost;
use crate::gate::Known;
use crate::http::error::ApiError;
use crate::http::extract::{self, field};
use crate::http::notes::Notes;
use crate::http::{State, headers};

/// Most bytes of a question: many times the longest key and endpoint. Whoever has no key may send one, on each connection.
const QUESTION_BYTES_MAX: usize = 16 * 1024;

#[derive(Deserialize)]
struct Question {
    key: String,
    cost: Option<u64>,
    endpoint: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(flatten)]
    standing: Option<AnswerStanding>,
}

#[derive(Serialize)]
struct AnswerStanding {
    account_id: String,
    key_id: Option<String>,
    plan: String,
    limit: u32,
    remaining: u32,
    reset_at: String,
}

impl From<&Known> for AnswerStanding {
    fn from(known: &Known) -> Self {
        Self {
            account_id: known.account_id.to_string(),
            key_id: known.key_id.map(|id| id.to_string()),
            plan: known.plan.to_string(),
            limit: known.standing.limit.as_units(),
            remaining: known.standing.remaining(),
            reset_at: known.standing.reset().to_string(),
        }
    }
}

/// Answers a question that a server asks by itself.
pub(super) async fn answer(
    state: &State,
    request: &HttpRequest,
    payload: Payload,
    notes: &mut Notes,
) -> Result<HttpResponse, ApiError> {
    let question: Question = extract::json(&extract::body_of(request, payload, QUESTION_BYTES_MAX).await?)?;
    let cost =
        field("cost", question.cost.map_or(Ok(Cost::ONE), |cost| Cost::new(u32::try_from(cost).unwrap_or(u32::MAX))))?;
    let original = question.endpoint.as_deref().map_or(Ok(Original::UNKNOWN), Original::in_words)?;
    let admitted = decide(state, question.key.as_bytes(), &original, cost).await;
    let standing = known(&admitted).map(AnswerStanding::from);
    let mut response = match &admitted {
        Ok(known) => {
            let mut response = HttpResponse::Ok().json(Answer { allowed: true, detail: None, standing });
            headers::set_limits(response.headers_mut(), &known.standing);
            response
        }
        Err(error) => {
            let refused = error.error_response();
            if refused.status().is_server_error() {
                refused
            } else {
                let answer = Answer { allowed: false, detail: Some(error.detail()), standing };
                let body = serde_json::to_vec(&answer)
                    .map_err(|error| ApiError::Internal("could not write an answer", Some(Box::new(error))))?;
                refused.set_body(actix_web::body::BoxBody::new(body))
            }
        }
    };
    if let Some(known) = known(&admitted) {
        set_account(response.headers_mut(), known);
    }
    remember(state, notes, admitted, original, cost);
    Ok(response)
}
