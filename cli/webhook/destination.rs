//! The URL that jobs are sent to, checked before anything is sent.

use reqwest::Url;
use url::{Host, ParseError};

use super::address::special_purpose;
use crate::output::printable;

/// All ports from this one on are allowed without `--allow-private`. Most lower ports belong to other protocols, such as mail, DNS and SSH.
const FREE_PORTS_FROM: u16 = 1024;
/// The ports of HTTP below [`FREE_PORTS_FROM`].
const HTTP_PORTS: [u16; 2] = [80, 443];

const NO_SCHEME: &str = "the URL must begin with https://, or with http:// if --allow-private is given";

/// The addresses that jobs may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// Public addresses, over https and to no port of another protocol.
    Public,
    /// All addresses, also over http and to any port: `--allow-private`.
    Any,
}

/// A URL that has passed all checks of its text. If only public addresses are allowed, those to which its host resolves are checked for each connection.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    url: Url,
    addresses: Addresses,
}

impl Destination {
    /// The destination, or why it is refused. The error quotes nothing of the URL but its host and port, because the rest may be secret.
    pub(super) fn parse(text: &str, addresses: Addresses) -> Result<Self, String> {
        let url = match Url::parse(text) {
            // `host:80/path` is read as a URL whose scheme is `host`.
            Err(ParseError::RelativeUrlWithoutBase) => return Err(NO_SCHEME.into()),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => return Err(NO_SCHEME.into()),
            parsed => parsed.map_err(|error| format!("this is not a URL: {error}"))?,
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL contains a user or password, which process lists show to other users; leave it out, and let the receiver check \
                        the signatures of --webhook-secret-file"
                .into());
        }
        if addresses == Addresses::Public {
            encrypted(&url)?;
            allowed_port(&url)?;
            public_host(&url)?;
        }
        Ok(Self { url, addresses })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The name that must be resolved, if it is not an address.
    pub(super) fn name(&self) -> Option<&str> {
        self.url.domain()
    }

    /// The URL without the parts that may be secret.
    pub(super) fn shown(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = self.url.host_str().unwrap_or_default();
        printable(&format!("{}://{host}{port}{}", self.url.scheme(), self.url.path()))
    }
}

fn encrypted(url: &Url) -> Result<(), String> {
    match url.scheme() {
        "https" => Ok(()),
        _ => Err("http:// sends jobs unencrypted; use https://, or --allow-private within a private network".into()),
    }
}

fn allowed_port(url: &Url) -> Result<(), String> {
    match url.port_or_known_default() {
        Some(port) if port < FREE_PORTS_FROM && !HTTP_PORTS.contains(&port) => Err(format!(
            "port {port} belongs to another protocol; 80, 443 and ports from {FREE_PORTS_FROM} are allowed, and all ports with --allow-private"
        )),
        _ => Ok(()),
    }
}

/// Refuses an address that is not public: an address is never resolved, so `resolver` does not check it. Also refuses the names of this machine.
fn public_host(url: &Url) -> Result<(), String> {
    let (shown, what) = match url.host() {
        Some(Host::Ipv4(address)) => (address.to_string(), special_purpose(address.into())),
        Some(Host::Ipv6(address)) => (address.to_string(), special_purpose(address.into())),
        Some(Host::Domain(name)) => (name.to_owned(), is_localhost(name).then_some("this machine")),
        None => return Err("the URL has no host".into()),
    };
    match what {
        Some(what) => Err(refusal(&shown, what)),
        None => Ok(()),
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

/// The error for a host that is not public.
pub(super) fn refusal(host: &str, what: &str) -> String {
    format!("{} is {what}; jobs go to public addresses only, unless --allow-private is given", printable(host))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(url: &str, addresses: Addresses) -> String {
        Destination::parse(url, addresses).map(|to| to.shown()).unwrap_err()
    }

    #[test]
    fn plain_http_other_ports_and_this_machine_need_allow_private() {
        for (url, phrase) in [
            ("http://example.com/", "http:// sends jobs unencrypted"),
            ("https://example.com:22/", "port 22 belongs to another protocol"),
            ("https://example.com:0/", "port 0 belongs to another protocol"),
            ("https://localhost/", "localhost is this machine"),
            ("https://LOCALHOST./", "localhost. is this machine"),
            ("https://api.localhost/", "api.localhost is this machine"),
            ("https://127.1/", "127.0.0.1 is a loopback address"),
        ] {
            assert!(refused(url, Addresses::Public).contains(phrase), "{url}: {}", refused(url, Addresses::Public));
            assert!(Destination::parse(url, Addresses::Any).is_ok(), "{url}");
        }
        for url in ["https://example.com/", "https://example.com:80/", "https://example.com:8443/", "https://8.8.8.8/"]
        {
            assert!(Destination::parse(url, Addresses::Public).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_not_the_url_of_a_web_server_is_refused_even_with_allow_private() {
        for url in
            ["", "example.com", "ftp://example.com/", "file:///etc/passwd", "https://", "https://[::1", "gopher://x"]
        {
            assert!(Destination::parse(url, Addresses::Any).is_err(), "{url}");
        }
        for url in
            ["", "example.com", "example.com/hooks", "example.com:8443/hooks", "//example.com", "ftp://example.com/"]
        {
            assert!(
                refused(url, Addresses::Public).starts_with("the URL must begin with https://"),
                "{url}: {}",
                refused(url, Addresses::Public)
            );
        }
    }

    #[test]
    fn a_url_with_credentials_is_refused_and_its_secrets_are_never_printed() {
        for url in
            ["https://user:secret@example.com/", "https://secret@example.com/?t=secret", "https://:secret@example.com/"]
        {
            for addresses in [Addresses::Public, Addresses::Any] {
                let message = refused(url, addresses);
                assert!(message.contains("a user or password") && !message.contains("secret@"), "{message}");
            }
        }
        assert!(!refused("https://user:hush@[::1/?t=hush", Addresses::Public).contains("hush"));
        let to = Destination::parse("https://example.com:8443/hook?token=secret#secret", Addresses::Public).unwrap();
        assert_eq!(to.shown(), "https://example.com:8443/hook");
    }
}
