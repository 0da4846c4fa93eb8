//! A gateway whose connections come from, and whose tunnels lead to, whoever holds it: for those who look for bytes that break what
//! comes before a tunnel.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Booted, answer, boot_in, forward};
use crate::config::Config;
use crate::egress::Network;
use crate::front::{Answer, Door, Socks, serve_one};
use crate::gateway::Gateway;
use crate::notify::Notifier;
use crate::tunnel;

/// All of a gateway but its listening sockets and its workers' threads.
#[derive(Debug)]
pub struct Rehearsal {
    gateway: Arc<Gateway>,
    admin: Arc<axum::Router>,
    /// One receiver for each request that has no answer yet.
    deciding: watch::Sender<()>,
}

impl Rehearsal {
    /// A gateway with this configuration, of which the addresses to listen on are left out, in this network.
    ///
    /// # Errors
    /// With what keeps a gateway from starting.
    pub async fn start(mut config: Config, network: Arc<dyn Network>) -> Result<Self, Box<dyn std::error::Error>> {
        config.listen.clear();
        config.forward_proxy.listen.clear();
        config.forward_proxy.socks5_listen.clear();
        config.mesh_door = None;
        let Booted { gateway, admin, .. } = boot_in(network, config, 0, &Notifier::default()).await?;
        Ok(Self { gateway: Arc::new(gateway), admin: Arc::new(admin), deciding: watch::Sender::new(()) })
    }

    /// Serves a connection as the port does on which it came, from its first byte until it ends or becomes a tunnel. The forward
    /// proxy's port speaks SOCKS5 as well.
    pub async fn serve(&self, stream: TcpStream, peer: SocketAddr, door: Door) {
        let (gateway, admin) = (Arc::clone(&self.gateway), Arc::clone(&self.admin));
        match door {
            Door::Api => {
                let handle = move |request, peer| answer(Arc::clone(&gateway), Arc::clone(&admin), request, peer);
                serve_one(stream, peer, self.watched(handle), None).await;
            }
            Door::Proxy => {
                let socks = self.socks();
                let handle = move |request, peer| forward(Arc::clone(&gateway), request, peer);
                serve_one(stream, peer, self.watched(handle), Some(socks)).await;
            }
        }
    }

    /// Resolves when no request waits for its answer.
    pub async fn decided(&self) {
        self.deciding.closed().await;
    }

    /// Resolves when no tunnel is left.
    pub async fn quiet(&self) {
        self.gateway.dialer.quiet().await;
    }

    /// Writes the last rows.
    pub async fn close(self) {
        self.gateway.ledger.close().await;
    }

    fn socks(&self) -> Socks {
        let gateway = Arc::clone(&self.gateway);
        Arc::new(move |stream, peer| {
            let gateway = Arc::clone(&gateway);
            let held = gateway.dialer.hold();
            drop(tokio::spawn(async move { tunnel::serve_socks(&gateway, stream, peer, &held).await }));
        })
    }

    fn watched<F>(
        &self,
        handle: impl Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    ) -> impl Fn(Request<Incoming>, SocketAddr) -> WatchedAnswer + Clone + Send + Sync + 'static
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let deciding = self.deciding.clone();
        move |request, peer| {
            let (answering, deciding) = (handle(request, peer), deciding.subscribe());
            Box::pin(async move {
                let answer = answering.await;
                drop(deciding);
                answer
            })
        }
    }
}

type WatchedAnswer = std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;
