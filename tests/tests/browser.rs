//! A real browser against the sidecar: pages of another origin, and a page whose own name is made to mean this machine.
//! What each page tries is in `tests/pages/attack.html`.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a skipped test says so on stdout")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use fleetgate_tests::wait::{Gate, soon};
use fleetgate_tests::{Reply, Sidecar, Upstream, eventually};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinSet};

const KEY: &str = "sk-canary-of-this-host-0123456789";
const ANSWER: &str = "what-the-provider-said";
const PAGE: &str = include_str!("../pages/attack.html");

/// Gives the page out, tells it when to begin and against whom, and takes its report.
#[derive(Debug, Default)]
struct Attacker {
    bases: Mutex<String>,
    loaded: Gate,
    begin: Gate,
    report: Mutex<Option<String>>,
}

impl Attacker {
    /// Serves on a port of its own until the handle is aborted, and every connection with it.
    async fn serve(self: &Arc<Self>) -> (SocketAddr, AbortHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let attacker = Arc::clone(self);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let attacker = Arc::clone(&attacker);
                connections.spawn(async move {
                    let service = service_fn(|request| attacker.answer(request));
                    // A browser leaves when it likes.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (address, task.abort_handle())
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let body = match (request.method(), request.uri().path()) {
            (&Method::GET, "/page") => PAGE.to_owned(),
            (&Method::GET, "/loaded") => {
                self.loaded.open();
                String::new()
            }
            (&Method::GET, "/bases") => {
                self.begin.opened().await;
                self.bases.lock().await.clone()
            }
            (&Method::POST, "/report") => {
                let report = request.into_body().collect().await.unwrap().to_bytes();
                *self.report.lock().await = Some(String::from_utf8(report.to_vec()).unwrap());
                String::new()
            }
            _ => String::new(),
        };
        let response = Response::builder().header("access-control-allow-origin", "*");
        Ok(response.header("content-type", "text/html").body(Full::new(body.into())).unwrap())
    }

    async fn attack(&self, bases: &[String]) {
        *self.bases.lock().await = bases.join(" ");
        self.begin.open();
    }

    async fn report(&self) -> BTreeMap<String, String> {
        let report = eventually("the page's report", async || self.report.lock().await.take()).await;
        serde_json::from_str(&report).unwrap()
    }
}

/// The browser with one page open. Every name means this machine or nothing.
struct Browser {
    _child: tokio::process::Child,
    _profile: TempDir,
}

impl Browser {
    fn open(url: &str) -> Option<Self> {
        if !Command::new("chromium")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
        {
            assert!(std::env::var_os("CI").is_none(), "chromium is missing; tests/run.sh installs it");
            println!("SKIPPED: chromium is missing; tests/run.sh installs it");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let mut command = tokio::process::Command::new("chromium");
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
        ]);
        // What the browser itself keeps from local addresses is not what is tested.
        command
            .arg("--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,OptimizationHints");
        command.arg("--host-resolver-rules=MAP evil.example 127.0.0.1,MAP rebound.example 127.0.0.1,MAP * ~NOTFOUND,EXCLUDE localhost,EXCLUDE 127.0.0.1");
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg(url).env("HOME", profile.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        Some(Self { _child: command.spawn().unwrap(), _profile: profile })
    }
}

/// A gateway that would answer anything, and lets any page read it.
async fn generous_gateway() -> Upstream {
    let gateway = Upstream::start().await;
    let reply = Reply::literal(200, ANSWER).header("x-fleetgate-gateway", "0.1.0");
    gateway.always(reply.header("access-control-allow-origin", "*").header("access-control-allow-headers", "*"));
    gateway
}

async fn sidecar(gateway: &Upstream, listen: &str) -> Sidecar {
    Sidecar::for_host("label-canary").gateway_url(&gateway.origin()).key(KEY).listen(listen).start().await
}

fn assert_nothing_was_read(report: &BTreeMap<String, String>, sidecar: &Sidecar) {
    for (attempt, read) in report {
        for ours in ["canary", ANSWER, "hosts.toml", "gateway", " 200 "] {
            assert!(!read.contains(ours), "{attempt} read {read}");
        }
        // An event stream's, and a socket's.
        assert!(!read.starts_with("message ") && read != "open", "{attempt}: {read}");
    }
    assert!(!sidecar.stderr().contains("canary-of-this-host"));
}

#[tokio::test]
async fn a_page_of_another_origin_gets_nothing() {
    let gateway = generous_gateway().await;
    let sidecar = sidecar(&gateway, "127.0.0.1:0").await;
    let attacker = Arc::new(Attacker::default());
    let (address, _) = attacker.serve().await;
    let port = sidecar.address().port();
    // The same attempts succeed against who does not defend himself: they are real ones.
    let helpless = generous_gateway().await;
    let ours =
        [format!("http://localhost:{port}"), format!("http://127.0.0.1:{port}"), format!("http://evil.example:{port}")];
    attacker.attack(&[&ours[..], &[helpless.origin()]].concat()).await;
    let page = format!("http://evil.example:{}/page?control=http://127.0.0.1:{}", address.port(), address.port());
    let Some(_browser) = Browser::open(&page) else { return };
    let mut report = attacker.report().await;

    let reached = report.split_off(&helpless.origin());
    let (reached, more): (BTreeMap<_, _>, _) =
        reached.into_iter().partition(|(name, _)| name.starts_with(&helpless.origin()));
    report.extend(more);
    assert!(helpless.requests().len() >= 12 && reached.values().any(|read| read.contains(ANSWER)), "{reached:#?}");
    assert_eq!(report.len(), 3 * reached.len());
    assert_nothing_was_read(&report, &sidecar);
    assert!(gateway.requests().is_empty(), "{:#?}", gateway.requests());
    sidecar.post("/v1/messages").body("{}").send().await.expect(200);
}

#[tokio::test]
async fn a_page_whose_name_is_made_to_mean_this_machine_gets_nothing() {
    let gateway = generous_gateway().await;
    let attacker = Arc::new(Attacker::default());
    let (control, _) = attacker.serve().await;
    // The page comes from the very name and port that are the sidecar's a moment later.
    let (address, server) = attacker.serve().await;
    let origin = format!("http://rebound.example:{}", address.port());
    let Some(_browser) = Browser::open(&format!("{origin}/page?control=http://{control}")) else { return };
    soon("the page is loaded", attacker.loaded.opened()).await;
    server.abort();
    eventually("the page's server is gone", async || server.is_finished().then_some(())).await;
    let sidecar = sidecar(&gateway, &address.to_string()).await;
    attacker.attack(&[origin]).await;
    let report = attacker.report().await;
    assert_nothing_was_read(&report, &sidecar);
    // It is the page's own origin now, so it reads that it is refused, and no more.
    let refusal = &report.iter().find(|(name, _)| name.ends_with("fetch cors")).unwrap().1;
    assert!(refusal.starts_with("basic 403 "), "{refusal}");
    assert!(gateway.requests().is_empty(), "{:#?}", gateway.requests());
    sidecar.post("/v1/messages").body("{}").send().await.expect(200);
}
