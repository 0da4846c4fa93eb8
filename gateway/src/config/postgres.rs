//! A PostgreSQL address, as LiteLLM's users have it: Prisma's parameters included.

use std::fmt;
use std::time::Duration;

use fleetgate_wire::{ExposeSecret, SecretString};
use percent_encoding::percent_decode_str;

const PORT: u16 = 5432;
const CONNECTIONS: u32 = 8;
/// How long a query waits for a free connection.
const POOL_TIMEOUT: Duration = Duration::from_secs(3);

/// Parameters of Prisma and of pools that change nothing here.
const HARMLESS: &[&str] =
    &["connect_timeout", "socket_timeout", "pgbouncer", "statement_cache_size", "application_name", "sslaccept"];

/// Where a PostgreSQL server is and how to speak to it. Shown without user, password and parameters.
#[derive(Clone)]
pub struct PostgresUrl {
    /// The server's name or address; a folder for a Unix socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user; the system's user when there is none.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// The database.
    pub database: String,
    /// The schema for Fleetgate's tables; `public` unless LiteLLM's tables are there.
    pub schema: Option<String>,
    /// Whether and how TLS is spoken.
    pub tls: TlsMode,
    /// The certificates to trust, as a PEM file; else the public ones.
    pub root_certificates: Option<String>,
    /// Connections at most.
    pub connections: u32,
    /// How long a query waits for a free one of them.
    pub pool_timeout: Duration,
    /// How many of its parameters nobody here knows.
    pub unknown: usize,
}

/// `sslmode`, with libpq's meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server has it.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Always, with a trusted certificate.
    VerifyCa,
    /// Always, with a trusted certificate for this very name.
    VerifyFull,
}

/// Why a text is no PostgreSQL address. The text itself is never repeated: it holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    /// Another scheme.
    #[error("it does not begin with postgres:// or postgresql://")]
    Scheme,
    /// `/`, `?` or `#` in user or password.
    #[error("its user or password holds a / ? or #, which must be written %2F %3F %23")]
    Unescaped,
    /// No database.
    #[error("it names no database; write postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoDatabase,
    /// Not a port.
    #[error("its port is no number from 1 to 65535")]
    Port,
    /// Escapes that are no text.
    #[error("it holds a %-escape that is no UTF-8")]
    Escape,
    /// A parameter's value.
    #[error("its parameter {0} has a value that cannot be used")]
    Parameter(&'static str),
}

impl PostgresUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// When a part of it cannot be used.
    pub fn parse(text: &str) -> Result<Self, PostgresUrlError> {
        let text = text.trim();
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or(PostgresUrlError::Scheme)?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        if tail.contains('#') || path.contains('@') {
            return Err(PostgresUrlError::Unescaped);
        }
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        let (user, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((user, password)) => (some(decode(user)?), some(decode(password)?)),
            None => (None, None),
        };
        let (host, port) = split_port(place)?;
        let mut url = Self {
            host: some(decode(host)?).unwrap_or_else(|| "localhost".to_owned()),
            port: port.unwrap_or(PORT),
            user,
            password: password.map(SecretString::from),
            database: decode(path.trim_start_matches('/'))?,
            schema: None,
            tls: TlsMode::Prefer,
            root_certificates: None,
            connections: CONNECTIONS,
            pool_timeout: POOL_TIMEOUT,
            unknown: 0,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            url.set(name, decode(value)?)?;
        }
        if url.database.is_empty() {
            return Err(PostgresUrlError::NoDatabase);
        }
        Ok(url)
    }

    /// From LiteLLM's variables `DATABASE_HOST`, `DATABASE_NAME`, `DATABASE_USERNAME` and `DATABASE_PASSWORD`.
    ///
    /// # Errors
    /// When the host's port is no port.
    pub fn from_parts(
        host: &str,
        database: &str,
        user: Option<&str>,
        password: Option<&str>,
    ) -> Result<Self, PostgresUrlError> {
        let mut url = Self::parse("postgres:///of-parts")?;
        let (host, port) = split_port(host)?;
        (url.host, url.port) = (host.to_owned(), port.unwrap_or(PORT));
        database.clone_into(&mut url.database);
        url.user = user.map(str::to_owned);
        url.password = password.map(SecretString::from);
        Ok(url)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), PostgresUrlError> {
        match name {
            "host" => self.host = value,
            "port" => self.port = value.parse().map_err(|_| PostgresUrlError::Port)?,
            "user" => self.user = some(value),
            "password" => self.password = some(value).map(SecretString::from),
            "dbname" => self.database = value,
            "schema" => self.schema = some(value),
            "sslmode" => self.tls = tls(&value).ok_or(PostgresUrlError::Parameter("sslmode"))?,
            "sslrootcert" => self.root_certificates = some(value),
            "connection_limit" => {
                let limit = value.parse().map_err(|_| PostgresUrlError::Parameter("connection_limit"))?;
                // Rows, leases and whoever asks must not wait for each other for ever.
                self.connections = u32::max(limit, 3);
            }
            "pool_timeout" => {
                let seconds = value.parse().map_err(|_| PostgresUrlError::Parameter("pool_timeout"))?;
                // Prisma's 0 is "for ever".
                self.pool_timeout = if seconds == 0 { POOL_TIMEOUT } else { Duration::from_secs(seconds) };
            }
            known if HARMLESS.contains(&known) => {}
            _ => self.unknown += 1,
        }
        Ok(())
    }
}

impl PartialEq for PostgresUrl {
    /// Whether both lead to the same database.
    fn eq(&self, other: &Self) -> bool {
        let place = |url: &Self| (url.host.clone(), url.port, url.database.clone(), url.schema.clone());
        place(self) == place(other)
    }
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), PostgresUrlError> {
    // An IPv6 address stands in brackets.
    match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match port.parse() {
            Ok(port) if port > 0 => Ok((unbracket(host), Some(port))),
            _ => Err(PostgresUrlError::Port),
        },
        _ => Ok((unbracket(place), None)),
    }
}

fn unbracket(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn decode(text: &str) -> Result<String, PostgresUrlError> {
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| PostgresUrlError::Escape)
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn tls(word: &str) -> Option<TlsMode> {
    Some(match word {
        "disable" => TlsMode::Disable,
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => return None,
    })
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.user.is_some() || self.password.is_some() { "[redacted]@" } else { "" };
        if self.host.contains(':') {
            write!(f, "postgres://{user}[{}]:{}/{}", self.host, self.port, self.database)
        } else {
            write!(f, "postgres://{user}{}:{}/{}", self.host, self.port, self.database)
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

/// The password, for the driver alone.
impl ExposeSecret<str> for PostgresUrl {
    fn expose_secret(&self) -> &str {
        self.password.as_ref().map_or("", ExposeSecret::expose_secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prismas_addresses_are_read() {
        let text = "postgresql://llm%40x:p%2Fw@db:6432/litellm?schema=mine&connection_limit=100&pool_timeout=60&sslmode=require&pgbouncer=true&odd=1";
        let url = PostgresUrl::parse(text).unwrap();
        assert_eq!((url.host.as_str(), url.port, url.database.as_str()), ("db", 6432, "litellm"));
        assert_eq!((url.user.as_deref(), url.expose_secret()), (Some("llm@x"), "p/w"));
        assert_eq!((url.schema.as_deref(), url.connections, url.tls), (Some("mine"), 100, TlsMode::Require));
        assert_eq!((url.pool_timeout.as_secs(), url.unknown), (60, 1));
    }

    #[test]
    fn sockets_and_ipv6_are_read() {
        for (text, host, port) in [
            ("postgres:///ledger?host=/run/postgresql", "/run/postgresql", 5432),
            ("postgres://%2Frun%2Fpostgresql/ledger", "/run/postgresql", 5432),
            ("postgres://u@[fd00::1]:5433/ledger", "fd00::1", 5433),
            ("postgres://[fd00::1]/ledger", "fd00::1", 5432),
            ("postgres:///ledger", "localhost", 5432),
        ] {
            let url = PostgresUrl::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.database.as_str()), (host, port, "ledger"), "{text}");
        }
        let parts = PostgresUrl::from_parts("db:5433", "litellm", Some("u"), Some("p:/?#@")).unwrap();
        assert_eq!((parts.host.as_str(), parts.port, parts.expose_secret()), ("db", 5433, "p:/?#@"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_being_repeated() {
        for (text, error) in [
            ("mysql://u:canary@h/d", PostgresUrlError::Scheme),
            ("postgres://u:canary/x@h/d", PostgresUrlError::Unescaped),
            ("postgres://u:canary#x@h/d", PostgresUrlError::Unescaped),
            ("postgres://u:canary@h", PostgresUrlError::NoDatabase),
            ("postgres://u:canary@h:x/d", PostgresUrlError::Port),
            ("postgres://u:canary%ff@h/d", PostgresUrlError::Escape),
            ("postgres://u:canary@h/d?sslmode=canary", PostgresUrlError::Parameter("sslmode")),
        ] {
            assert_eq!(PostgresUrl::parse(text).unwrap_err(), error, "{text}");
            assert!(!error.to_string().contains("canary"));
        }
    }

    #[test]
    fn it_is_shown_without_credentials() {
        let url = PostgresUrl::parse("postgres://canary:canary@h/d?password=canary&x=canary").unwrap();
        assert_eq!(url.to_string(), "postgres://[redacted]@h:5432/d");
        assert_eq!(format!("{url:?}"), "PostgresUrl(postgres://[redacted]@h:5432/d)");
    }
}
