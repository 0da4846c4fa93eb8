//! The loop between two TCP connections: no buffer while nothing moves, no copy of much, and a reset passed on.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::buffer::Buffer;
use super::clock::ActivityClock;
use super::{Ended, TunnelEnd, TunnelLimits, TunnelReport, Way, both, ended, write_counted};

/// So many full buffers without a pause are much: from there on a pipe is worth its calls.
#[cfg(target_os = "linux")]
const MUCH: u32 = 4;
/// Less than this at once is better copied.
#[cfg(target_os = "linux")]
const SMALL: usize = 16 * 1024;
/// So many times in a row.
#[cfg(target_os = "linux")]
const FEW: u32 = 4;

/// One end of a tunnel.
#[derive(Debug)]
pub struct End {
    /// Its connection.
    pub stream: TcpStream,
    /// What it sent along with its head; this goes first.
    pub early: Bytes,
}

/// [`relay_until`](super::relay_until) for two TCP connections, which end with it: after a reset on one side by a reset of the
/// other, since a clean end would say that all has come.
pub async fn relay_tcp(
    client: End,
    destination: End,
    limits: TunnelLimits,
    stop: impl Future<Output = ()>,
) -> TunnelReport {
    let clock = ActivityClock::start();
    let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
    let (End { stream: mut client, early: first_up }, End { stream: mut destination, early: first_down }) =
        (client, destination);
    let end = {
        let (client_reads, client_writes) = client.split();
        let (destination_reads, destination_writes) = destination.split();
        let account = limits.account.as_deref();
        let way = Way { count: &up, clock: &clock, account };
        // Pinned here and lent on: a future that is handed on by value has room in each that it passes through, and a tunnel is
        // silent for most of its life.
        let upward = pin!(forward(first_up, client_reads, destination_writes, way));
        let way = Way { count: &down, clock: &clock, account };
        let downward = pin!(forward(first_down, destination_reads, client_writes, way));
        ended(pin!(both(upward, downward)), &clock, &limits, pin!(stop)).await
    };
    if let TunnelEnd::Broken(_) = end {
        for side in [&client, &destination] {
            let _one_of_them_is_gone = side.set_zero_linger();
        }
    }
    TunnelReport { up: up.load(Relaxed), down: down.load(Relaxed), end }
}

async fn forward(early: Bytes, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way<'_>) -> Result<(), Ended> {
    if !early.is_empty() {
        write_counted(&mut to, &early, way).await?;
        way.charge(early.len()).await?;
    }
    // It may be the last to hold a buffer of the connection's.
    drop(early);
    #[cfg(target_os = "linux")]
    let mut full_reads = 0;
    loop {
        let (buffer, length) = tokio::select! {
            biased;
            read = read(&mut from) => read?,
            error = broken(to.as_ref()) => return Err(error.into()),
        };
        way.clock.touch();
        if length == 0 {
            break;
        }
        write_counted(&mut to, &buffer[..length], way).await?;
        #[cfg(target_os = "linux")]
        let is_full = length == buffer.len();
        drop(buffer);
        way.charge(length).await?;
        #[cfg(target_os = "linux")]
        {
            full_reads = if is_full { full_reads + 1 } else { 0 };
            // An account that counts wants to be asked more often than a full pipe lets it.
            if full_reads >= MUCH && way.account.is_none() {
                full_reads = 0;
                // Boxed, since silent tunnels need no room for it.
                if Box::pin(splice(from.as_ref(), to.as_ref(), way)).await? == Spliced::All {
                    break;
                }
            }
        }
    }
    way.clock.half_close();
    way.finish(to.shutdown().await)
}

/// Waits for bytes, and only then takes a buffer for them.
async fn read(from: &mut ReadHalf<'_>) -> io::Result<(Buffer, usize)> {
    poll_fn(|context| {
        let mut buffer = Buffer::take();
        let mut read = ReadBuf::new(&mut buffer);
        match Pin::new(&mut *from).poll_read(context, &mut read) {
            Poll::Ready(Ok(())) => {
                let length = read.filled().len();
                Poll::Ready(Ok((buffer, length)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Waits until a connection that nobody may be reading any more is reset or given up by the system.
async fn broken(stream: &TcpStream) -> io::Error {
    if let Err(error) = stream.ready(Interest::ERROR).await {
        return error;
    }
    // What came before the reset may still be read, and is: by the other way, in its turn.
    tokio::task::yield_now().await;
    stream.take_error().ok().flatten().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}

/// How far splicing came.
#[cfg(target_os = "linux")]
#[derive(PartialEq, Eq)]
enum Spliced {
    /// The sender finished.
    All,
    /// There is little to move now.
    Little,
}

/// Moves bytes through a pipe for as long as there are many. While it waits it holds none.
#[cfg(target_os = "linux")]
async fn splice(from: &TcpStream, to: &TcpStream, way: Way<'_>) -> Result<Spliced, Ended> {
    let mut small_fills = 0;
    while small_fills < FEW {
        tokio::select! {
            biased;
            ready = from.readable() => ready?,
            error = broken(to) => return Err(error.into()),
        }
        // Too many open files: copying needs none.
        let Ok(mut pipe) = super::pipe::Lent::take() else { return Ok(Spliced::Little) };
        loop {
            let taken = match pipe.fill(from) {
                Ok(0) => return Ok(Spliced::All),
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            way.clock.touch();
            small_fills = if taken < SMALL { small_fills + 1 } else { 0 };
            while pipe.held() > 0 {
                match pipe.drain(to) {
                    Ok(given) => way.wrote(given),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                    Err(error) => return Err(error.into()),
                }
            }
            way.charge(taken).await?;
            tokio::task::consume_budget().await;
        }
    }
    Ok(Spliced::Little)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_silent_tunnel_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut ends = Vec::new();
        for _ in 0..2 {
            ends.push(End { stream: TcpStream::connect(address).await.unwrap(), early: Bytes::new() });
        }
        let (client, destination) = (ends.remove(0), ends.remove(0));
        let relay = relay_tcp(client, destination, TunnelLimits::default(), std::future::pending());
        let size = size_of_val(&relay);
        assert!(size <= 2_048, "{size} bytes for each tunnel, however long it is silent");
    }
}
