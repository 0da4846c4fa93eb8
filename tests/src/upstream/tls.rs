//! A certificate authority for one test.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

/// A certificate authority and the directory that holds its certificate.
#[derive(Debug)]
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl TestCa {
    /// Makes one.
    ///
    /// # Panics
    /// When keys cannot be made or files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Fleetgate test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let dir = TempDir::new().expect("a temporary directory");
        fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("the directory is writable");
        Self { issuer, dir }
    }

    /// The authority's certificate, for `SSL_CERT_FILE` and `curl --cacert`.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A server's TLS settings for these names and addresses.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn server_config(&self, names: &[&str]) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(names);
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Named, since several providers may be compiled in.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("the provider has TLS 1.2 and 1.3").with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![certificate.der().clone()], private).expect("key and certificate match"))
    }

    /// Writes a server's certificate and key as PEM files, for a server in another process.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn server_files(&self, names: &[&str]) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.issue(names);
        let write = |name: &str, pem: String| {
            let path = self.dir.path().join(name);
            fs::write(&path, pem).expect("the directory is writable");
            path
        };
        (write("server.pem", certificate.pem()), write("server.key", key.serialize_pem()))
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("valid names");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}
