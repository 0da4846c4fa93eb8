//! Clients that call on and on, each call with a number in its text and its tag, streaming and not, over two dialects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fleetgate_wire::row::Row;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::upstream::openai::{chat_request, stream_request};
use crate::upstream::{Upstream, anthropic};
use crate::{Answer, Call};

/// The model of the calls to `/v1/chat/completions`.
pub const CHAT_MODEL: &str = "gpt-x";
/// The model of the calls to `/v1/messages`.
pub const MESSAGES_MODEL: &str = "sonnet";

/// What the clients did: calls by number.
#[derive(Debug, Default)]
pub struct Made {
    /// All of them, whatever came of them.
    pub sent: HashSet<usize>,
    /// Answered with 200 and read to the last byte, with the row's identifier that the answer named.
    pub finished: HashMap<usize, String>,
    /// The same, with the moment of the last byte.
    pub finished_at: HashMap<usize, (String, Timestamp)>,
    /// Answered with another status, by status and reason, with the last such answer.
    pub refused: BTreeMap<(u16, String), (usize, Answer)>,
    /// Not answered, or cut.
    pub broken: usize,
}

impl Made {
    fn add(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.finished.extend(other.finished);
        self.finished_at.extend(other.finished_at);
        self.broken += other.broken;
        for (kind, (count, last)) in other.refused {
            self.refused.entry(kind).or_insert((0, last)).0 += count;
        }
    }

    /// How many were refused, for whatever reason.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.refused.values().map(|(count, _)| count).sum()
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<Made>,
    shared: Arc<Shared>,
    life: watch::Sender<u32>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    over: AtomicBool,
    next: AtomicUsize,
    finished: watch::Sender<usize>,
    refused: AtomicUsize,
}

impl Load {
    /// Starts so many clients for each of these keys. The gateway must serve [`CHAT_MODEL`] and [`MESSAGES_MODEL`].
    #[must_use]
    pub fn start(address: SocketAddr, keys: &[&str], clients: usize) -> Self {
        let (life, lives) = watch::channel(0);
        let (over, next) = (AtomicBool::new(false), AtomicUsize::new(0));
        let shared =
            Arc::new(Shared { address, over, next, finished: watch::Sender::new(0), refused: AtomicUsize::new(0) });
        let mut all = JoinSet::new();
        for key in keys {
            for first in 0..clients {
                all.spawn(client(Arc::clone(&shared), (*key).to_owned(), first, lives.clone()));
            }
        }
        Self { clients: all, shared, life }
    }

    /// Says that the gateway is there again: clients that found it gone go on.
    pub fn revive(&self) {
        self.life.send_modify(|life| *life += 1);
    }

    /// Answers that were read to the end so far.
    #[must_use]
    pub fn finished(&self) -> usize {
        *self.shared.finished.borrow()
    }

    /// How many calls were refused so far.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Ends it, and tells what was done.
    pub async fn stop(self) -> Made {
        self.shared.over.store(true, Ordering::Release);
        self.revive();
        let mut made = Made::default();
        for one in self.clients.join_all().await {
            made.add(one);
        }
        made
    }
}

async fn client(shared: Arc<Shared>, key: String, first: usize, mut lives: watch::Receiver<u32>) -> Made {
    let mut made = Made::default();
    let mut turn = first;
    while !shared.over.load(Ordering::Acquire) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        turn += 1;
        let (path, mut body) = match turn % 4 {
            0 => ("/v1/chat/completions", chat_request(CHAT_MODEL)),
            1 => ("/v1/chat/completions", stream_request(CHAT_MODEL)),
            2 => ("/v1/messages", anthropic::request(MESSAGES_MODEL)),
            _ => ("/v1/messages", anthropic::stream_request(MESSAGES_MODEL)),
        };
        body["messages"][0]["content"] = json!(format!("call {number}"));
        lives.mark_unchanged();
        made.sent.insert(number);
        let call = Call::new(shared.address, Method::POST, path).bearer(&key).json(&body);
        let Ok(open) = call.header("x-litellm-tags", &format!("call-{number}")).try_open().await else {
            made.broken += 1;
            // Not before there is a gateway again.
            let _over = tokio::time::timeout(Duration::from_secs(10), lives.changed()).await;
            continue;
        };
        let answer = open.finish().await;
        if !answer.whole {
            made.broken += 1;
        } else if answer.status == 200 {
            let row = answer.header("x-fleetgate-request-id").to_owned();
            made.finished_at.insert(number, (row.clone(), Timestamp::now()));
            made.finished.insert(number, row);
            shared.finished.send_modify(|finished| *finished += 1);
        } else {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            let kind = (answer.status.as_u16(), answer.header("x-fleetgate-reason").to_owned());
            let refused = made.refused.entry(kind).or_insert_with(|| (0, answer.clone()));
            *refused = (refused.0 + 1, answer);
        }
    }
    made
}

/// The numbers of the calls that reached the provider.
#[must_use]
pub fn arrived(upstream: &Upstream) -> HashSet<usize> {
    let number = |body: &Value| body["messages"][0]["content"].as_str()?.strip_prefix("call ")?.parse().ok();
    upstream.requests().iter().filter_map(|request| number(&request.json())).collect()
}

/// The number of a row's call.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn number_of(row: &Row) -> usize {
    row.tags.iter().find_map(|tag| tag.strip_prefix("call-")?.parse().ok()).expect("each call has its tag")
}
