//! What is done with a target, and what it costs its process.

use std::time::{Duration, Instant};

use fleetgate_tests::process::{cpu_time, memory_kb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::server::{DOWN, UP, order};
use crate::target::Target;

/// One small exchange, as a first flight of TLS would be.
const EXCHANGE: u64 = 600;

/// Tunnels with one exchange each, from so many clients: how many a second, and CPU milliseconds for each.
pub(crate) async fn set_up(target: &Target, clients: usize, time: Duration) -> (f64, f64) {
    some(target, Instant::now() + time / 10).await;
    let (cpu, began) = (cpu_time(target.pid()), Instant::now());
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let target = target.clone();
        running.spawn(async move { some(&target, began + time).await });
    }
    let count = running.join_all().await.into_iter().sum::<u64>() as f64;
    let (cpu, lasted) = (cpu_time(target.pid()) - cpu, began.elapsed());
    (count / lasted.as_secs_f64(), cpu.as_secs_f64() * 1000.0 / count)
}

async fn some(target: &Target, until: Instant) -> u64 {
    let (mut count, mut answer) = (0, [0; EXCHANGE as usize]);
    while Instant::now() < until {
        let mut stream = target.open().await;
        stream.write_all(&order(DOWN, EXCHANGE)).await.expect("the tunnel takes bytes");
        stream.read_exact(&mut answer).await.expect("the tunnel gives bytes");
        count += 1;
    }
    count
}

/// So many bytes one way: CPU seconds for each GB.
pub(crate) async fn bulk(target: &Target, way: u8, bytes: u64) -> f64 {
    let mut stream = target.open().await;
    let mut chunk = vec![0; 256 * 1024];
    let cpu = cpu_time(target.pid());
    stream.write_all(&order(way, bytes)).await.expect("the tunnel takes bytes");
    let mut left = usize::try_from(bytes).expect("64 bits");
    while left > 0 {
        let most = left.min(chunk.len());
        left -= if way == UP {
            stream.write(&chunk[..most]).await.expect("the tunnel takes bytes")
        } else {
            match stream.read(&mut chunk[..most]).await.expect("the tunnel gives bytes") {
                0 => panic!("{} ended a tunnel", target.name()),
                read => read,
            }
        };
    }
    if way == UP {
        stream.read_exact(&mut [0]).await.expect("the tunnel gives bytes");
    }
    (cpu_time(target.pid()) - cpu).as_secs_f64() / (bytes as f64 / 1e9)
}

/// So many tunnels, of which each carried a little and is silent then: resident kilobytes for each.
pub(crate) async fn idle(target: &Target, count: usize) -> f64 {
    let before = memory_kb(target.pid(), "VmRSS");
    let (mut open, mut answer) = (Vec::new(), [0; EXCHANGE as usize]);
    for _ in 0..count {
        let mut stream = target.open().await;
        stream.write_all(&order(DOWN, EXCHANGE)).await.expect("the tunnel takes bytes");
        stream.read_exact(&mut answer).await.expect("the tunnel gives bytes");
        open.push(stream);
    }
    let after = memory_kb(target.pid(), "VmRSS");
    after.saturating_sub(before) as f64 / count as f64
}
