//! The one tunnel loop: bytes both ways, half-close kept, counted on every way out.

mod buffer;
mod clock;
#[cfg(target_os = "linux")]
mod pipe;
mod tcp;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use clock::ActivityClock;
pub use tcp::{End, relay_tcp};

/// One read's worth. TLS records are at most 16 KiB.
const BUFFER_SIZE: usize = 16 * 1024;
/// A tunnel that waits for its account says so often enough not to count as silent.
const HELD_UP: Duration = Duration::from_secs(1);

/// What a tunnel may do.
#[derive(Debug, Clone)]
pub struct TunnelLimits {
    /// Longest silence on *both* ways together: one busy way keeps the tunnel up.
    pub idle: Duration,
    /// The same once one side has finished sending; shorter, since a dead peer often shows so.
    pub half_closed_idle: Duration,
    /// Longest life, however busy.
    pub life: Option<Duration>,
    /// Who is told of every byte and may slow the tunnel down, or end it.
    pub account: Option<Arc<dyn Account>>,
}

/// Whoever pays for a tunnel's bytes; many tunnels may share one.
pub trait Account: std::fmt::Debug + Send + Sync {
    /// Takes note of bytes that went through, whichever way.
    fn charge(&self, bytes: u64) -> Charge;
}

/// What an account says to more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// Go on.
    Go,
    /// Go on after a while.
    Wait(Duration),
    /// Ask again after a while, by charging 0 bytes; nothing more until then.
    Hold(Duration),
    /// No more: the tunnel ends.
    Stop,
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(600), half_closed_idle: Duration::from_secs(60), life: None, account: None }
    }
}

/// What went through a tunnel and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelReport {
    /// Bytes written to the destination.
    pub up: u64,
    /// Bytes written to the client.
    pub down: u64,
    /// How it ended.
    pub end: TunnelEnd,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelEnd {
    /// Both sides finished sending.
    Closed,
    /// One side broke (reset, aborted); the other was ended with it.
    Broken(io::ErrorKind),
    /// Nothing moved for the idle limit.
    Idle,
    /// It lived as long as a tunnel may.
    Expired,
    /// The program that held it was stopped.
    Stopped,
    /// Its account has no bytes left.
    Spent,
}

impl TunnelEnd {
    /// The word in the row's status.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Broken(_) => "broken",
            Self::Idle => "idle_timeout",
            Self::Expired => "max_lifetime",
            Self::Stopped => "stopped",
            Self::Spent => "byte_limit",
        }
    }
}

/// Copies both ways until both sides finished, one broke, or nothing moved for the limit. `early` are bytes that the client
/// sent behind its `CONNECT`; they go first.
pub async fn relay<C, D>(client: C, early: Bytes, destination: D, limits: TunnelLimits) -> TunnelReport
where
    C: AsyncRead + AsyncWrite,
    D: AsyncRead + AsyncWrite,
{
    relay_until(client, early, destination, limits, std::future::pending()).await
}

/// [`relay`] that also ends when `stop` resolves: with the process, or by an order.
pub async fn relay_until<C, D>(
    client: C,
    early: Bytes,
    destination: D,
    limits: TunnelLimits,
    stop: impl Future<Output = ()>,
) -> TunnelReport
where
    C: AsyncRead + AsyncWrite,
    D: AsyncRead + AsyncWrite,
{
    let (client_reads, client_writes) = tokio::io::split(client);
    let (destination_reads, destination_writes) = tokio::io::split(destination);
    let clock = ActivityClock::start();
    let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));

    let account = limits.account.as_deref();
    let upward = pin!(copy(early, client_reads, destination_writes, Way { count: &up, clock: &clock, account }));
    let way = Way { count: &down, clock: &clock, account };
    let downward = pin!(copy(Bytes::new(), destination_reads, client_writes, way));
    let end = ended(pin!(both(upward, downward)), &clock, &limits, pin!(stop)).await;
    TunnelReport { up: up.load(Relaxed), down: down.load(Relaxed), end }
}

/// Both ways to their ends, or the first that breaks.
async fn both(
    upward: Pin<&mut impl Future<Output = Result<(), Ended>>>,
    downward: Pin<&mut impl Future<Output = Result<(), Ended>>>,
) -> Result<(), Ended> {
    tokio::try_join!(upward, downward).map(|_| ())
}

/// Waits for the first reason to end.
async fn ended(
    both: Pin<&mut impl Future<Output = Result<(), Ended>>>,
    clock: &ActivityClock,
    limits: &TunnelLimits,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> TunnelEnd {
    tokio::select! {
        biased;
        result = both => match result {
            Ok(()) => TunnelEnd::Closed,
            Err(Ended::Io(error)) => TunnelEnd::Broken(error.kind()),
            Err(Ended::Spent) => TunnelEnd::Spent,
        },
        end = clock.ended(limits) => end,
        () = stop => TunnelEnd::Stopped,
    }
}

/// Why one way ended before its end.
enum Ended {
    Io(io::Error),
    Spent,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What the two ways of a tunnel are counted in.
#[derive(Clone, Copy)]
struct Way<'a> {
    count: &'a AtomicU64,
    clock: &'a ActivityClock,
    account: Option<&'a dyn Account>,
}

impl Way<'_> {
    fn wrote(&self, bytes: usize) {
        self.count.fetch_add(bytes as u64, Relaxed);
        self.clock.touch();
    }

    /// Asks the account, if there is one, whether there may be more than these.
    async fn charge(&self, bytes: usize) -> Result<(), Ended> {
        let mut bytes = bytes as u64;
        loop {
            match self.account.map_or(Charge::Go, |account| account.charge(bytes)) {
                Charge::Go => return Ok(()),
                // Boxed, since the tunnels that nobody slows down need no room for it.
                Charge::Wait(time) => {
                    Box::pin(self.held_up(time)).await;
                    return Ok(());
                }
                Charge::Hold(time) => Box::pin(self.held_up(time)).await,
                Charge::Stop => return Err(Ended::Spent),
            }
            bytes = 0;
        }
    }

    async fn held_up(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::time::sleep_until(until.min(Instant::now() + HELD_UP)).await;
            // It is held up, not silent.
            self.clock.touch();
        }
    }

    fn finish(&self, ended: io::Result<()>) -> Result<(), Ended> {
        match ended {
            // The peer may have gone already; what it still sends the other way is not lost for that.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => Ok(result?),
        }
    }
}

async fn copy(
    early: Bytes,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way<'_>,
) -> Result<(), Ended> {
    write_counted(&mut to, &early, way).await?;
    way.charge(early.len()).await?;
    // It may be the last to hold a buffer of the connection's.
    drop(early);
    let mut buffer = vec![0u8; BUFFER_SIZE];
    loop {
        let length = from.read(&mut buffer).await?;
        way.clock.touch();
        if length == 0 {
            way.clock.half_close();
            return way.finish(to.shutdown().await);
        }
        write_counted(&mut to, &buffer[..length], way).await?;
        way.charge(length).await?;
    }
}

/// Writes all, counting what was really taken even when a later piece fails.
async fn write_counted(to: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], way: Way<'_>) -> io::Result<()> {
    while !bytes.is_empty() {
        let taken = to.write(bytes).await?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        way.wrote(taken);
        bytes = &bytes[taken..];
    }
    to.flush().await
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn start(early: &'static [u8]) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<TunnelReport>) {
        let (client, client_side) = duplex(64 * 1024);
        let (destination, destination_side) = duplex(64 * 1024);
        let early = Bytes::from_static(early);
        let task = tokio::spawn(relay(client_side, early, destination_side, TunnelLimits::default()));
        (client, destination, task)
    }

    #[tokio::test]
    async fn early_bytes_go_first_and_every_byte_is_counted() {
        let (mut client, mut destination, task) = start(b"hello ");
        client.write_all(b"world").await.unwrap();
        client.shutdown().await.unwrap();
        let mut seen = String::new();
        destination.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "hello world");

        // The other way stays open after the client finished sending.
        destination.write_all(&[7u8; 50_000]).await.unwrap();
        drop(destination);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.len(), 50_000);
        assert_eq!(task.await.unwrap(), TunnelReport { up: 11, down: 50_000, end: TunnelEnd::Closed });
    }

    #[tokio::test]
    async fn a_broken_side_ends_the_other_and_keeps_the_counts() {
        let (mut client, destination, task) = start(b"");
        client.write_all(b"123").await.unwrap();
        let mut seen = [0u8; 3];
        let mut destination = destination;
        destination.read_exact(&mut seen).await.unwrap();
        drop(destination);
        // Writing into the dropped side breaks the tunnel.
        client.write_all(b"4").await.unwrap();
        let report = task.await.unwrap();
        assert_eq!((report.up, report.end), (3, TunnelEnd::Broken(io::ErrorKind::BrokenPipe)));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_tunnel_and_half_closed_silence_sooner() {
        let began = Instant::now();
        let (_client, _destination, task) = start(b"");
        assert_eq!(task.await.unwrap().end, TunnelEnd::Idle);
        assert_eq!(began.elapsed().as_secs(), 600);

        let began = Instant::now();
        let (mut client, _destination, task) = start(b"");
        client.shutdown().await.unwrap();
        assert_eq!(task.await.unwrap().end, TunnelEnd::Idle);
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_tunnel_ends_with_its_life_and_every_byte_is_counted() {
        let (mut client, client_side) = duplex(64);
        let (mut destination, destination_side) = duplex(64);
        let limits = TunnelLimits { life: Some(Duration::from_secs(90)), ..TunnelLimits::default() };
        let task = tokio::spawn(relay(client_side, Bytes::new(), destination_side, limits));
        let (mut sent, mut seen) = (0, [0u8; 1]);
        while client.write_all(b"x").await.is_ok() && destination.read_exact(&mut seen).await.is_ok() {
            sent += 1;
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        assert_eq!(task.await.unwrap(), TunnelReport { up: sent, down: 0, end: TunnelEnd::Expired });
        assert_eq!(sent, 5);
    }
}
