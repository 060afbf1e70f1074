//! One reading, as text.

use tokio::sync::{mpsc, oneshot};

use super::text;
use crate::serve::Event;

/// What the text is, for HTTP.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Asks the daemon's loop and makes the text; `None` when the loop has ended.
pub(crate) async fn scrape(events: &mpsc::Sender<Event>) -> Option<String> {
    let (reply, answer) = oneshot::channel();
    events.send(Event::Metrics(reply)).await.ok()?;
    let reading = answer.await.ok()?;
    // A thousand tenants are some megabytes of text, for which the loop's thread has no time.
    tokio::task::spawn_blocking(move || text(&reading)).await.ok()
}
