//! A closed loop of clients: each sends its next request when the answer to the last one is whole.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fleetgate_tests::process::{cpu_time, memory_kb};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::http1::is_whole;

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
pub(crate) async fn run(address: SocketAddr, pids: &[u32], request: &[u8], clients: usize, time: Duration) -> Figures {
    // Connections and pools are set up outside the measured time.
    one_client(address, request, Instant::now() + time / 10).await;
    let cpu_before: Duration = pids.iter().map(|pid| cpu_time(*pid)).sum();
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let request = request.to_vec();
        running.spawn(async move { one_client(address, &request, began + time).await });
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
    let mut stream = TcpStream::connect(address).await.expect("the target listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut latencies = Vec::with_capacity(1 << 14);
    let mut answer = Vec::with_capacity(64 << 10);
    while Instant::now() < until {
        answer.clear();
        let began = Instant::now();
        stream.write_all(request).await.expect("the target reads");
        while !is_whole(&answer) {
            let read = stream.read_buf(&mut answer).await.expect("the target answers");
            assert!(read > 0, "the target closed: {}", String::from_utf8_lossy(&answer));
        }
        latencies.push(began.elapsed());
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    latencies
}
