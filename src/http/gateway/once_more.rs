//! A look at what is as good as there, without waiting for the network.

use std::task::{Context, Poll};

/// Polls; if that is pending, lets the worker's other tasks have one turn, polls again, and then gives up. So the task
/// of a connection can hand over what it has, and nobody waits for the network.
pub(crate) async fn once_more<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let mut had_turn = false;
    std::future::poll_fn(|cx| match poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if had_turn => Poll::Ready(None),
        Poll::Pending => {
            had_turn = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}
