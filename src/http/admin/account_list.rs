//! Lists of accounts: all of them, those that hold a text, and those nearest to their limit.

use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::Semaphore;

use super::accounts::view;
use crate::accounts::nearest::{self, Place, Search};
use crate::domain::id::AccountId;
use crate::http::error::ApiError;
use crate::http::extract::{PageQuery, Query, field};
use crate::http::views::{AccountView, List};
use crate::http::{State, block};

/// Lists that walk accounts at once: each may read all of them, and others wait their turn.
const WALKS_MAX: usize = 2;
static WALKS: Semaphore = Semaphore::const_new(WALKS_MAX);

/// In which order accounts come.
enum Sort {
    /// The oldest first.
    Created,
    /// The nearest to the limit first.
    Usage,
}

impl Sort {
    fn of(query: &Query) -> Result<Self, ApiError> {
        match query.find("sort")? {
            None | Some("created") => Ok(Self::Created),
            Some("usage") => Ok(Self::Usage),
            Some(_other) => Err(ApiError::Invalid("sort: must be created or usage".to_owned())),
        }
    }
}

pub(super) async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (page, query) = (PageQuery::of(&request)?, Query::of(&request));
    let search = field("search", query.find("search")?.map(Search::new).transpose())?;
    let list = match (Sort::of(&query)?, search) {
        (Sort::Usage, search) => list_nearest(state, page, search).await?,
        (Sort::Created, Some(search)) => list_matching(state, page, search).await?,
        (Sort::Created, None) => list_all(state, page).await?,
    };
    Ok(HttpResponse::Ok().json(list))
}

async fn list_all(state: web::Data<State>, query: PageQuery) -> Result<List<AccountView>, ApiError> {
    let after = query.after(AccountId::parse)?;
    let (store, now) = (state.store.clone(), state.clock.now());
    let page = block(move || store.list_accounts(after, query.rows)).await?;
    List::of(page, |account| account.id.to_string(), |account| view(&state.store, &account, now))
}

async fn list_matching(
    state: web::Data<State>,
    query: PageQuery,
    search: Search,
) -> Result<List<AccountView>, ApiError> {
    let after = query.after(AccountId::parse)?;
    let (store, now) = (state.store.clone(), state.clock.now());
    let turn = turn().await?;
    let walk = move || {
        // Until the walk has ended, also if the client goes away.
        let _turn = turn;
        nearest::search(&store, &search, after, query.rows)
    };
    let page = block(walk).await?;
    List::of(page, |account| account.id.to_string(), |account| view(&state.store, &account, now))
}

async fn list_nearest(
    state: web::Data<State>,
    query: PageQuery,
    search: Option<Search>,
) -> Result<List<AccountView>, ApiError> {
    let after = query.after(Place::parse)?;
    let now = state.clock.now();
    let turn = turn().await?;
    let walk = move || {
        let _turn = turn;
        nearest::nearest(&state.store, search.as_ref(), after, query.rows, now)
    };
    let page = block(walk).await?;
    List::of(page, |found| found.place.to_string(), |found| Ok(AccountView::from(found)))
}

async fn turn() -> Result<tokio::sync::SemaphorePermit<'static>, ApiError> {
    WALKS.acquire().await.map_err(|_closed| ApiError::Internal("the turns of lists are closed", None))
}
