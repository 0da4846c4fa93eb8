//! Clients: in a closed loop each sends its next request when the answer to the last one is whole; in an open one requests come at
//! a fixed rate, whether or not earlier ones are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fleetgate_tests::process::{cpu_time, memory_kb};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::http1::is_whole;

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// From so many clients, each after its last answer.
    Clients(usize),
    /// So many a second.
    Rate(u32),
}

/// Connections for an open loop: enough that none waits for another's answer.
const CONNECTIONS: usize = 64;

/// What a target did in one cell of one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) rps: f64,
    pub(crate) cpu_ms: f64,
    pub(crate) rss_mb: f64,
}

/// One call as bytes.
pub(crate) fn request(address: SocketAddr, key: &str, stream: bool) -> Vec<u8> {
    let mut body = json!({"model": "gpt-x", "messages": [{"role": "user", "content": "say hi"}]});
    if stream {
        body["stream"] = true.into();
    }
    let body = body.to_string();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n");
    let kind = "content-type: application/json\r\nuser-agent: bench/1\r\n";
    format!("{head}{kind}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Loads a target for a while. `pids` are the processes whose time and memory count.
pub(crate) async fn run(address: SocketAddr, pids: &[u32], request: &[u8], pace: Pace, time: Duration) -> Figures {
    // Connections and pools are set up outside the measured time.
    one_client(address, request, Instant::now() + time / 10).await;
    let cpu_before: Duration = pids.iter().map(|pid| cpu_time(*pid)).sum();
    let began = Instant::now();
    let mut running = JoinSet::new();
    match pace {
        Pace::Clients(clients) => {
            for _ in 0..clients {
                let request = request.to_vec();
                running.spawn(async move { one_client(address, &request, began + time).await });
            }
        }
        Pace::Rate(rate) => {
            let due = Arc::new(Mutex::new(clock(rate, began, time)));
            for _ in 0..CONNECTIONS {
                let (request, due) = (request.to_vec(), Arc::clone(&due));
                running.spawn(async move { client_on_call(address, &request, &due).await });
            }
        }
    }
    let mut latencies: Vec<Duration> = running.join_all().await.concat();
    let elapsed = began.elapsed();
    let cpu = pids.iter().map(|pid| cpu_time(*pid)).sum::<Duration>() - cpu_before;
    latencies.sort_unstable();
    assert!(!latencies.is_empty(), "{address} answered nothing");
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    let count = latencies.len() as f64;
    Figures {
        p50_ms: at(50),
        p99_ms: at(99),
        rps: count / elapsed.as_secs_f64(),
        cpu_ms: cpu.as_secs_f64() * 1000.0 / count,
        rss_mb: pids.iter().map(|pid| memory_kb(*pid, "VmRSS")).sum::<u64>() as f64 / 1024.0,
    }
}

async fn one_client(address: SocketAddr, request: &[u8], until: Instant) -> Vec<Duration> {
    let mut client = Client::connect(address).await;
    let mut latencies = Vec::with_capacity(1 << 14);
    while Instant::now() < until {
        let began = Instant::now();
        client.call(request).await;
        latencies.push(began.elapsed());
    }
    latencies
}

/// Sends the moments at which requests are due, each when it has come: a timer of the runtime would be late by a millisecond.
#[expect(clippy::disallowed_methods, reason = "a thread of its own, which has nothing else to do")]
fn clock(rate: u32, began: Instant, time: Duration) -> mpsc::UnboundedReceiver<Instant> {
    let (sender, due) = mpsc::unbounded_channel();
    let count = (time.as_secs_f64() * f64::from(rate)) as u32;
    thread::spawn(move || {
        for number in 0..count {
            let moment = began + Duration::from_secs(1) * number / rate;
            thread::sleep(moment.saturating_duration_since(Instant::now()));
            if sender.send(moment).is_err() {
                return;
            }
        }
    });
    due
}

/// Takes the next request that is due, and counts from then on: what waits for a connection waits for the target.
async fn client_on_call(
    address: SocketAddr,
    request: &[u8],
    due: &Mutex<mpsc::UnboundedReceiver<Instant>>,
) -> Vec<Duration> {
    let mut client = Client::connect(address).await;
    let mut latencies = Vec::with_capacity(1 << 12);
    loop {
        let moment = due.lock().await.recv().await;
        let Some(moment) = moment else { return latencies };
        client.call(request).await;
        latencies.push(moment.elapsed());
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the target listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, answer: Vec::with_capacity(64 << 10) }
    }

    async fn call(&mut self, request: &[u8]) {
        self.answer.clear();
        self.stream.write_all(request).await.expect("the target reads");
        while !is_whole(&self.answer) {
            let read = self.stream.read_buf(&mut self.answer).await.expect("the target answers");
            assert!(read > 0, "the target closed: {}", String::from_utf8_lossy(&self.answer));
        }
        assert!(self.answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.answer));
    }
}
