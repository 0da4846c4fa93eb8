//! To the first address that answers: families in turn, each next one a moment later (RFC 8305), and only addresses that were judged.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fleetgate_wire::address::PublicAddr;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::Network;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For one address.
    pub(super) attempt: Duration,
    /// Before the next one is tried as well.
    pub(super) stagger: Duration,
}

/// To an address itself; the moment is RFC 8305's (§5, "Connection Attempt Delay").
pub(super) const DIRECT: Patience = Patience { attempt: Duration::from_secs(5), stagger: Duration::from_millis(250) };
/// A name with many dead addresses must not hold a client for minutes.
const MAX_ADDRESSES: usize = 8;

/// The addresses in the order in which they are tried: the resolver's, with the families in turn.
pub(super) fn interleave<A: Copy>(addresses: &[A], family: impl Fn(A) -> bool) -> Vec<A> {
    let Some(first) = addresses.first().map(|first| family(*first)) else { return Vec::new() };
    let (leading, following): (Vec<A>, Vec<A>) = addresses.iter().partition(|address| family(**address) == first);
    let mut order = Vec::with_capacity(addresses.len());
    let (mut leading, mut following) = (leading.into_iter(), following.into_iter());
    loop {
        let pair = [leading.next(), following.next()];
        if pair.iter().all(Option::is_none) {
            order.truncate(MAX_ADDRESSES);
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

/// Connects to the first that answers. The others' attempts end with it.
///
/// # Errors
/// With the last failure.
pub(super) async fn dial(network: &dyn Network, addresses: &[PublicAddr]) -> Result<(TcpStream, SocketAddr), String> {
    let order = interleave(addresses, |address| address.get().is_ipv6());
    race(order.into_iter().map(PublicAddr::get), |address| network.connect(address), DIRECT).await
}

/// Tries the addresses until one succeeds.
///
/// # Errors
/// With the last failure.
pub(super) async fn race<S, F>(
    mut addresses: impl Iterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
    patience: Patience,
) -> Result<(S, SocketAddr), String>
where
    F: Future<Output = io::Result<S>>,
{
    let mut attempts = FuturesUnordered::new();
    let mut cause = String::from("the name has no address");
    let mut next_at = Instant::now();
    let mut next = addresses.next();
    loop {
        if next.is_none() && attempts.is_empty() {
            return Err(cause);
        }
        tokio::select! {
            biased;
            Some((address, result)) = attempts.next(), if !attempts.is_empty() => match result {
                Ok(Ok(stream)) => return Ok((stream, address)),
                failed => {
                    cause = match failed {
                        Ok(Err(error)) => io::Error::to_string(&error),
                        _ => format!("no answer within {} s", patience.attempt.as_secs()),
                    };
                    // Nothing to wait for.
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if next.is_some() => {
                if let Some(address) = next {
                    let attempt = timeout(patience.attempt, connect(address));
                    attempts.push(async move { (address, attempt.await) });
                }
                next = addresses.next();
                next_at = Instant::now() + patience.stagger;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        format!("{text}:443").parse().unwrap()
    }

    #[test]
    fn families_take_turns_and_the_resolvers_first_is_first() {
        let all = ["[2::1]", "[2::2]", "[2::3]", "1.1.1.1", "1.1.1.2"].map(address);
        let order: Vec<_> = interleave(&all, |one| one.is_ipv6()).iter().map(|one| one.ip().to_string()).collect();
        assert_eq!(order, ["2::1", "1.1.1.1", "2::2", "1.1.1.2", "2::3"]);
        assert_eq!(interleave(&all[3..], |one| one.is_ipv6()), all[3..]);
        assert_eq!(interleave(&vec![all[0]; 50], |one| one.is_ipv6()).len(), MAX_ADDRESSES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_address_costs_a_moment_and_a_refusal_nothing() {
        let began = Instant::now();
        let all = ["[2::1]", "1.1.1.1", "1.1.1.2"].map(address);
        let connect = |one: SocketAddr| async move {
            match one.ip().to_string().as_str() {
                "2::1" => std::future::pending().await,
                "1.1.1.1" => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => Ok(()),
            }
        };
        let ((), won) = race(all.into_iter(), connect, DIRECT).await.unwrap();
        assert_eq!((won, began.elapsed()), (all[2], DIRECT.stagger));
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_answers_is_given_up() {
        let began = Instant::now();
        let all = ["[2::1]", "1.1.1.1"].map(address);
        let failed = race::<(), _>(all.into_iter(), |_| std::future::pending(), DIRECT).await.unwrap_err();
        assert_eq!((failed.as_str(), began.elapsed()), ("no answer within 5 s", DIRECT.attempt + DIRECT.stagger));
    }
}
