//! Certificates made for one test, and a Redis server behind TLS.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

use super::redis_server::RedisServer;

/// An authority that signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// When a certificate is valid.
#[derive(Clone, Copy, PartialEq)]
pub enum Valid {
    Now,
    Past,
    Future,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these host names and addresses, of a server or a client.
    pub fn sign(&self, names: &[&str], valid: Valid) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        // Not the name of its authority: it would count as signed by itself.
        params.distinguished_name.push(DnType::CommonName, "one that was signed");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        match valid {
            Valid::Now => {}
            Valid::Past => params.not_after = rcgen::date_time_ymd(2020, 1, 1),
            Valid::Future => params.not_before = rcgen::date_time_ymd(2200, 1, 1),
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A server that speaks TLS at one port and plain text at another, on this machine.
pub struct TlsServer {
    _server: RedisServer,
    folder: TempDir,
    pub tls_port: u16,
    pub plain_port: u16,
}

impl TlsServer {
    /// With `clients`, only clients whose certificates this authority has signed are let in.
    pub fn start(identity: &Identity, clients: Option<&Authority>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path();
        let authority = clients.map_or_else(|| identity.certificate.clone(), Authority::pem);
        let (cert, key) = (file(own, "cert.pem", &identity.certificate), file(own, "key.pem", &identity.key));
        let authority = file(own, "authority.pem", &authority);
        // Both are held at a time, so that they differ.
        let sockets = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [tls_port, plain_port] = sockets.map(|socket| socket.local_addr().unwrap().port());
        let (tls, plain) = (tls_port.to_string(), plain_port.to_string());
        let options = [
            ["--port", &plain],
            ["--tls-port", &tls],
            ["--tls-cert-file", cert.to_str().unwrap()],
            ["--tls-key-file", key.to_str().unwrap()],
            ["--tls-ca-cert-file", authority.to_str().unwrap()],
            ["--tls-auth-clients", if clients.is_some() { "yes" } else { "no" }],
        ];
        Self { _server: RedisServer::start_with(options.as_flattened()), folder, tls_port, plain_port }
    }

    /// Writes a file into the folder of this server.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        file(self.folder.path(), name, text)
    }

    /// `rediss://` at the port with TLS.
    pub fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port)
    }
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
