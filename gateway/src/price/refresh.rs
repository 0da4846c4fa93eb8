//! The catalogue from outside: fetched, judged, kept beside the ledger, and swapped in while calls go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use jiff::Timestamp;
use tokio::time::MissedTickBehavior;

use super::catalogue::BUILT_IN_DAY;
use super::{Catalogue, CatalogueError, Changes, Pricer, Refused, Verdict};
use crate::config::CatalogueSettings;
use crate::provider::{Client, ClientError};

const MOST_BYTES: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the prices stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The address is none.
    #[error("fleetgate.catalogue.url is no address: {0}")]
    Url(#[from] http::Error),
    /// Nobody answered.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Somebody answered something else.
    #[error("the answer was {0}, not 200")]
    Status(StatusCode),
    /// The answer broke off, or has no end.
    #[error("the answer could not be read: {0}")]
    Body(String),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What came is no catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// It is one, but not a sound one.
    #[error("{0}; if that is meant, set fleetgate.catalogue.allow_shrink: true")]
    Refused(#[from] Refused),
    /// The comparison did not end.
    #[error("the new catalogue could not be compared: {0}")]
    Compare(#[from] tokio::task::JoinError),
}

/// The catalogue to begin with: what was fetched last, if it is newer than the one built in and sound; otherwise that.
///
/// # Errors
/// When the program itself is damaged.
pub fn catalogue_at_start(settings: &CatalogueSettings) -> Result<Catalogue, CatalogueError> {
    let built_in = Catalogue::built_in()?;
    if !settings.is_on() {
        return Ok(built_in);
    }
    match cached(&settings.cache, &built_in, settings.allow_shrink) {
        Ok(Some(catalogue)) => Ok(catalogue),
        Ok(None) => Ok(built_in),
        Err(error) => {
            tracing::warn!("the prices fetched last are not used: {error}; the built-in ones of {BUILT_IN_DAY} hold");
            Ok(built_in)
        }
    }
}

fn cached(path: &Path, built_in: &Catalogue, allow_shrink: bool) -> Result<Option<Catalogue>, RefreshError> {
    let file = |source| RefreshError::File { path: path.to_path_buf(), source };
    let written = match std::fs::metadata(path).and_then(|file| file.modified()) {
        Ok(written) => written,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file(error)),
    };
    let built: Option<Timestamp> = format!("{BUILT_IN_DAY}T00:00:00Z").parse().ok();
    if built.is_some_and(|built| written < SystemTime::from(built)) {
        return Ok(None);
    }
    let catalogue = read(&std::fs::read(path).map_err(file)?)?;
    judge(built_in, &catalogue, allow_shrink)?;
    Ok(Some(catalogue))
}

/// Keeps the catalogue fresh for as long as it is polled: at once, then at the set interval. A failure keeps the old prices and
/// says so.
pub async fn keep_fresh(pricer: Arc<Pricer>, client: Client, settings: CatalogueSettings) {
    if !settings.is_on() {
        return;
    }
    let mut ticks = tokio::time::interval(settings.refresh);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match refresh(&pricer, &client, &settings).await {
            Ok(changes) => tracing::info!("prices are fresh: {changes}"),
            Err(error) => {
                let models = pricer.catalogue().len();
                tracing::warn!("new prices are not taken, the old ones of {models} models hold: {error}");
            }
        }
    }
}

/// Fetches the catalogue once, and takes it if it is sound.
///
/// # Errors
/// When it cannot be fetched or is not sound; the old prices hold.
pub async fn refresh(pricer: &Pricer, client: &Client, settings: &CatalogueSettings) -> Result<Changes, RefreshError> {
    let json = match (&settings.url, &settings.file) {
        (Some(url), _) => fetch(client, url).await?,
        (None, Some(path)) => {
            let read = tokio::fs::read(path).await;
            read.map(Bytes::from).map_err(|source| RefreshError::File { path: path.clone(), source })?
        }
        (None, None) => return Ok(Changes::default()),
    };
    let (old, text, allow_shrink) = (pricer.catalogue(), json.clone(), settings.allow_shrink);
    // Thousands of rows are parsed, twice.
    let judged = tokio::task::spawn_blocking(move || {
        let new = read(&text)?;
        judge(&old, &new, allow_shrink).map(|changes| (new, changes))
    });
    let (new, changes) = judged.await??;
    keep(&settings.cache, &json).await?;
    pricer.replace(new);
    Ok(changes)
}

fn read(json: &[u8]) -> Result<Catalogue, RefreshError> {
    Ok(Catalogue::from_json(json).map_err(CatalogueError::Json)?)
}

fn judge(old: &Catalogue, new: &Catalogue, allow_shrink: bool) -> Result<Changes, RefreshError> {
    match Catalogue::compare(old, new) {
        Verdict::Take(changes) => Ok(changes),
        Verdict::Keep(refused) if allow_shrink && !new.is_empty() => {
            tracing::warn!("fleetgate.catalogue.allow_shrink lets these prices in: {refused}");
            Ok(Changes::default())
        }
        Verdict::Keep(refused) => Err(refused.into()),
    }
}

async fn fetch(client: &Client, url: &str) -> Result<Bytes, RefreshError> {
    let request = Request::get(url).header(header::ACCEPT, "application/json").body(Full::default())?;
    let reply = client.send(request, PATIENCE).await?;
    if reply.head.status != StatusCode::OK {
        return Err(RefreshError::Status(reply.head.status));
    }
    let body = Limited::new(reply.body, MOST_BYTES).collect();
    match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(RefreshError::Body(error.to_string())),
        Err(_) => Err(RefreshError::Body(format!("it took longer than {} s", PATIENCE.as_secs()))),
    }
}

/// Writes the whole file or none of it.
async fn keep(path: &Path, json: &[u8]) -> Result<(), RefreshError> {
    let half = path.with_extension("json.new");
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        |source| RefreshError::File { path, source }
    };
    tokio::fs::write(&half, json).await.map_err(failed(&half))?;
    tokio::fs::rename(&half, path).await.map_err(failed(path))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn settings(directory: &Path) -> CatalogueSettings {
        CatalogueSettings {
            file: Some(directory.join("theirs.json")),
            cache: directory.join("prices.json"),
            ..CatalogueSettings::default()
        }
    }

    fn pricer() -> Pricer {
        Pricer::new(Catalogue::from_json(br#"{"a":{"input_cost_per_token":1e-6}}"#).unwrap())
    }

    fn input(pricer: &Pricer) -> Option<i64> {
        let usage = fleetgate_wire::usage::Usage { input: 1, ..Default::default() };
        pricer.catalogue().get("a")?.cost(&usage, None).map(|amount| amount.0)
    }

    async fn offer(json: &str) -> (Result<Changes, RefreshError>, Option<i64>, bool) {
        let directory = tempfile::tempdir().unwrap();
        let (settings, pricer) = (settings(directory.path()), pricer());
        std::fs::write(settings.file.as_ref().unwrap(), json).unwrap();
        let outcome = refresh(&pricer, &Client::new().unwrap(), &settings).await;
        (outcome, input(&pricer), settings.cache.exists())
    }

    #[tokio::test]
    async fn a_sound_catalogue_is_taken_and_kept() {
        let (outcome, price, kept) = offer(r#"{"a":{"input_cost_per_token":2e-6}}"#).await;
        assert_eq!(outcome.unwrap().repriced, 1);
        assert_eq!((price, kept), (Some(2000), true));
    }

    #[tokio::test]
    async fn an_unsound_one_changes_nothing_and_leaves_no_file() {
        for json in
            [r#"{"b":{"input_cost_per_token":2e-6}}"#, r#"{"a":{}}"#, r#"{"a":{"input_cost_per_token":2}}"#, "[]", "{"]
        {
            let (outcome, price, kept) = offer(json).await;
            assert!(outcome.is_err(), "{json}");
            assert_eq!((price, kept), (Some(1000), false), "{json}");
        }
    }

    /// Answers one request, whatever it is.
    async fn serve_once(answer: String) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
        });
        format!("http://{address}/prices.json")
    }

    #[tokio::test]
    async fn an_address_is_fetched_and_only_a_whole_200_counts() {
        let json = r#"{"a":{"input_cost_per_token":2e-6}}"#;
        let length = json.len();
        for (head, length, is_taken) in
            [("200 OK", length, true), ("404 Not Found", length, false), ("200 OK", length + 1, false)]
        {
            let url =
                serve_once(format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{json}"))
                    .await;
            let directory = tempfile::tempdir().unwrap();
            let settings = CatalogueSettings { url: Some(url), file: None, ..settings(directory.path()) };
            let pricer = pricer();
            let outcome = refresh(&pricer, &Client::new().unwrap(), &settings).await;
            assert_eq!(outcome.is_ok(), is_taken, "{head} {length}: {outcome:?}");
            assert_eq!(input(&pricer), Some(if is_taken { 2000 } else { 1000 }));
        }
    }

    #[tokio::test]
    async fn who_insists_gets_a_smaller_catalogue() {
        let directory = tempfile::tempdir().unwrap();
        let settings = CatalogueSettings { allow_shrink: true, ..settings(directory.path()) };
        let pricer = pricer();
        std::fs::write(settings.file.as_ref().unwrap(), r#"{"b":{}}"#).unwrap();
        refresh(&pricer, &Client::new().unwrap(), &settings).await.unwrap();
        assert_eq!(input(&pricer), None);
    }

    #[tokio::test]
    async fn a_catalogue_that_was_kept_is_read_at_the_next_start_if_it_is_sound() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let known = Catalogue::built_in().unwrap().len();
        let packed = concat!(env!("OUT_DIR"), "/model_prices.json.zst");
        let mut json = zstd::decode_all(std::fs::File::open(packed).unwrap()).unwrap();
        let brace = json.iter().position(|byte| *byte == b'{').unwrap() + 1;
        json.splice(brace..brace, br#""a":{"input_cost_per_token":1e-6},"#.iter().copied());
        std::fs::write(&settings.cache, &json).unwrap();
        assert_eq!(catalogue_at_start(&settings).unwrap().len(), known + 1);
        std::fs::write(&settings.cache, &json[..json.len() / 2]).unwrap();
        assert_eq!(catalogue_at_start(&settings).unwrap().len(), known);
        let off = CatalogueSettings { file: None, ..settings };
        assert_eq!(catalogue_at_start(&off).unwrap().len(), known);
    }
}
