//! The first contact: which schema is ours, and is it of this version's form?

use std::pin::Pin;
use std::time::Duration;

use fleetgate_wire::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgPool};

use super::Postgres;
use crate::config::{PostgresUrl, TlsMode};

/// Where the tables go when LiteLLM's real tables are where they would be: its names are taken by our views.
const OWN_SCHEMA: &str = "fleetgate";
const CONNECT: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(300);

impl Postgres {
    /// The connections; the first time, the server is looked at and migrated.
    pub(super) async fn pool(&self) -> Result<&PgPool, sqlx::Error> {
        self.pool.get_or_try_init(|| -> Opening { Box::pin(open(self.url.clone())) }).await
    }
}

/// Boxed: it is large, and awaited once.
type Opening = Pin<Box<dyn Future<Output = Result<PgPool, sqlx::Error>> + Send>>;

async fn open(url: PostgresUrl) -> Result<PgPool, sqlx::Error> {
    let options = options(&url);
    let first = tokio::time::timeout(CONNECT, options.connect()).await;
    let mut connection = first.map_err(|_| sqlx::Error::PoolTimedOut)??;
    let schema = schema(&mut connection, &url).await?;
    // A schema's name comes from the operator; as an identifier it is quoted.
    let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
    let create = format!("CREATE SCHEMA IF NOT EXISTS {quoted}");
    if !exists(&mut connection, &schema).await? {
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await?;
    }
    let options = options.options([("search_path", quoted.as_str())]);
    connection.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(url.connections)
        .min_connections(0)
        .acquire_timeout(url.pool_timeout)
        .idle_timeout(IDLE);
    let pool = pool.connect_lazy_with(options);
    sqlx::migrate!("migrations/postgres").run(&pool).await?;
    tracing::info!(database = %url, schema, "the ledger's database is there");
    Ok(pool)
}

fn options(url: &PostgresUrl) -> PgConnectOptions {
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(url.port)
        .database(&url.database)
        .application_name("fleetgate")
        .ssl_mode(match url.tls {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        });
    options = if url.host.starts_with('/') { options.socket(&url.host) } else { options.host(&url.host) };
    if let Some(user) = &url.user {
        options = options.username(user);
    }
    if let Some(password) = &url.password {
        options = options.password(password.expose_secret());
    }
    if let Some(file) = &url.root_certificates {
        options = options.ssl_root_cert(file);
    }
    options.disable_statement_logging()
}

/// Where our tables are; else where they will be: the schema that the address names or `public`, unless LiteLLM's tables are there.
async fn schema(connection: &mut PgConnection, url: &PostgresUrl) -> Result<String, sqlx::Error> {
    let wanted = url.schema.as_deref().unwrap_or("public");
    if has_table(connection, OWN_SCHEMA, "entry").await? && !has_table(connection, wanted, "entry").await? {
        return Ok(OWN_SCHEMA.to_owned());
    }
    let is_litellms = has_table(connection, wanted, "LiteLLM_VerificationToken").await?
        || has_table(connection, wanted, "LiteLLM_SpendLogs").await?;
    Ok(if is_litellms { OWN_SCHEMA } else { wanted }.to_owned())
}

/// Whether there is a real table of that name; a view is none.
async fn has_table(connection: &mut PgConnection, schema: &str, name: &str) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p'))";
    sqlx::query_scalar(sql).bind(schema).bind(name).fetch_one(connection).await
}

async fn exists(connection: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
    sqlx::query_scalar(sql).bind(schema).fetch_one(connection).await
}
