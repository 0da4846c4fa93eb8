//! Spans on their way to the collector: a bounded queue, batches, a few repetitions, and then they are dropped.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use fleetgate_wire::ExposeSecret;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::span::Span;
use crate::config::OtelSettings;
use crate::metrics::Metrics;

/// Spans that may wait. One is about 1 KB.
const QUEUE: usize = 2048;
const BATCH: usize = 512;
/// The longest that a span waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Pauses before a batch is sent again; after the last one it is dropped.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// How long the end of the process waits for the last batch.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Sends a request and gives back the answer's status. The assembly has a client for it.
pub trait Post: Send + Sync + 'static {
    /// Sends it.
    ///
    /// # Errors
    /// With what a person should know when no answer came.
    fn post(&self, request: Request<Full<Bytes>>) -> impl Future<Output = Result<StatusCode, String>> + Send;
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// Takes spans. Taking one never waits.
#[derive(Debug, Default)]
pub struct Tracer {
    /// Empty while traces are off, and after the end.
    queue: ArcSwapOption<mpsc::Sender<Span>>,
    counts: Arc<Counts>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Tracer {
    /// Starts sending to the collector. Without settings nothing is traced.
    #[must_use]
    pub fn start(settings: Option<&OtelSettings>, post: impl Post) -> Self {
        let Some(settings) = settings else { return Self::default() };
        let (queue, spans) = mpsc::channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let exporter = Exporter { settings: settings.clone(), post, counts: Arc::clone(&counts), is_failing: false };
        let task = tokio::spawn(exporter.run(spans));
        Self { queue: ArcSwapOption::from_pointee(queue), counts, task: Mutex::new(Some(task)) }
    }

    /// Whether calls are traced.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.queue.load().is_some()
    }

    /// Takes a span, or drops and counts it when too many wait. It is not even made while nobody wants it.
    pub fn record(&self, wanted: bool, make: impl FnOnce() -> Span) {
        if let Some(queue) = wanted.then(|| self.queue.load()).as_deref().and_then(Option::as_ref) {
            match queue.try_reserve() {
                Ok(place) => place.send(make()),
                Err(_) => drop(self.counts.dropped.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    /// Shows what became of spans on the page of metrics.
    pub fn count_in(&self, metrics: &Metrics) {
        let counts = Arc::clone(&self.counts);
        metrics.watch(move |page| {
            let exported = counts.exported.load(Ordering::Relaxed);
            page.counter("fleetgate_spans_exported_total", "Spans that the collector took.").count([], exported);
            let dropped = counts.dropped.load(Ordering::Relaxed);
            page.counter("fleetgate_spans_dropped_total", "Spans that nobody will see.").count([], dropped);
        });
    }

    /// Sends what waits, for a few seconds at most.
    pub async fn close(&self) {
        self.queue.store(None);
        if let Some(mut task) = self.task.lock().await.take()
            && timeout(LAST_WAIT, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

struct Exporter<P> {
    settings: OtelSettings,
    post: P,
    counts: Arc<Counts>,
    is_failing: bool,
}

impl<P: Post> Exporter<P> {
    async fn run(mut self, mut spans: mpsc::Receiver<Span>) {
        while let Some(first) = spans.recv().await {
            let mut batch = vec![first];
            let end = Instant::now() + GATHER;
            while batch.len() < BATCH
                && let Ok(Some(span)) = timeout_at(end, spans.recv()).await
            {
                batch.push(span);
            }
            self.export(&batch).await;
        }
    }

    async fn export(&mut self, batch: &[Span]) {
        let body = Bytes::from(message(&self.settings.service_name, batch).to_string());
        let count = batch.len() as u64;
        let mut pauses = PAUSES.into_iter();
        let cause = loop {
            let cause = match self.post.post(self.request(body.clone())).await {
                Ok(status) if status.is_success() => {
                    self.counts.exported.fetch_add(count, Ordering::Relaxed);
                    self.is_failing = false;
                    return;
                }
                Ok(status) if !is_passing(status) => break format!("the collector answered {status}"),
                Ok(status) => format!("the collector answered {status}"),
                Err(cause) => cause,
            };
            match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => break cause,
            }
        };
        self.counts.dropped.fetch_add(count, Ordering::Relaxed);
        // Once, not once a batch.
        if !std::mem::replace(&mut self.is_failing, true) {
            let endpoint = &self.settings.endpoint;
            tracing::warn!(%endpoint, %cause, "traces cannot be sent; they are dropped until the collector takes them");
        }
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.settings.endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        for (name, value) in &self.settings.headers {
            if let Ok(mut value) = http::HeaderValue::from_str(value.expose_secret()) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        request
    }
}

/// The answers after which OTLP asks for another try.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn message(service: &str, spans: &[Span]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let text = |name: &str, value: &str| json!({"key": name, "value": {"stringValue": value}});
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", service), text("service.version", version)] },
        "scopeSpans": [{
            "scope": { "name": "fleetgate", "version": version },
            "spans": spans.iter().map(Span::json).collect::<Vec<_>>(),
        }],
    }] })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Lock;

    use tokio::sync::Semaphore;

    use super::super::span::tests::span;
    use super::*;

    /// A collector that answers by script, once for each permit.
    #[derive(Clone)]
    struct Collector {
        answers: Arc<Lock<Vec<Result<StatusCode, String>>>>,
        seen: Arc<Lock<Vec<Value>>>,
        turns: Arc<Semaphore>,
    }

    impl Collector {
        fn new(answers: Vec<Result<StatusCode, String>>, turns: usize) -> Self {
            let turns = Arc::new(Semaphore::new(turns));
            Self { answers: Arc::new(Lock::new(answers)), seen: Arc::default(), turns }
        }

        fn sizes(&self) -> Vec<usize> {
            let spans =
                |body: &Value| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().map_or(0, Vec::len);
            self.seen.lock().unwrap().iter().map(spans).collect()
        }
    }

    impl Post for Collector {
        async fn post(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, String> {
            self.turns.acquire().await.unwrap().forget();
            assert_eq!(request.headers()["x-key"], "secret");
            let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
            self.seen.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            self.answers.lock().unwrap().pop().unwrap_or(Ok(StatusCode::OK))
        }
    }

    fn settings() -> OtelSettings {
        OtelSettings {
            endpoint: "http://collector:4318/v1/traces".parse().unwrap(),
            headers: vec![("x-key".parse().unwrap(), "secret".into())],
            service_name: "fleetgate".into(),
        }
    }

    fn counts(tracer: &Tracer) -> (u64, u64) {
        (tracer.counts.exported.load(Ordering::Relaxed), tracer.counts.dropped.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn spans_go_out_together_and_the_last_ones_at_the_end() {
        let collector = Collector::new(vec![], 100);
        let tracer = Tracer::start(Some(&settings()), collector.clone());
        for _ in 0..3 {
            tracer.record(true, span);
        }
        tracer.record(false, || unreachable!("nobody wants it"));
        tokio::time::sleep(GATHER * 2).await;
        tracer.record(true, span);
        tracer.close().await;
        assert_eq!((collector.sizes(), counts(&tracer)), (vec![3, 1], (4, 0)));
        let seen = collector.seen.lock().unwrap();
        assert_eq!(seen[0]["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"], "fleetgate");
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_away_is_asked_again_and_one_that_refuses_is_not() {
        let away = || Err("connection refused".to_owned());
        let answers =
            vec![Ok(StatusCode::BAD_REQUEST), Ok(StatusCode::OK), Ok(StatusCode::SERVICE_UNAVAILABLE), away()];
        let collector = Collector::new(answers, 100);
        let tracer = Tracer::start(Some(&settings()), collector.clone());
        tracer.record(true, span);
        tokio::time::sleep(GATHER + PAUSES[0] + PAUSES[1] + GATHER).await;
        assert_eq!(counts(&tracer), (1, 0), "the third try was taken");
        tracer.record(true, span);
        tracer.close().await;
        assert_eq!((collector.sizes().len(), counts(&tracer)), (4, (1, 1)), "what is refused is not repeated");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_and_counts_and_never_waits() {
        let collector = Collector::new(vec![], 0);
        let tracer = Tracer::start(Some(&settings()), collector.clone());
        for _ in 0..QUEUE + 100 {
            tracer.record(true, span);
        }
        assert_eq!(counts(&tracer), (0, 100));
        collector.turns.add_permits(100);
        tracer.close().await;
        assert_eq!(counts(&tracer), (QUEUE as u64, 100));
        assert!(collector.sizes().iter().all(|size| *size <= BATCH), "{:?}", collector.sizes());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_ever() {
        let tracer = Tracer::start(Some(&settings()), Collector::new(vec![], 0));
        tracer.record(true, span);
        let before = Instant::now();
        tracer.close().await;
        assert!(before.elapsed() <= LAST_WAIT + GATHER);
        tracer.record(true, || unreachable!("after the end nothing is taken"));
    }

    #[test]
    fn without_settings_nothing_is_traced() {
        let tracer = Tracer::start(None, Collector::new(vec![], 0));
        tracer.record(true, || unreachable!("traces are off"));
        assert!(!tracer.is_on());
    }
}
