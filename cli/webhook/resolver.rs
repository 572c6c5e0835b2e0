//! Name resolution, and the check that a name leads to public addresses. Both are done for each connection, which is then made to one of the addresses that were checked;
//! so DNS rebinding has no effect.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::special_purpose;
use super::destination::refusal;

/// The operating system's resolver.
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The HTTP client sets the port when it connects.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A resolver that returns only the public addresses of a name, and refuses a name that has none.
pub(super) struct PublicOnly(pub(super) Arc<dyn Resolve>);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let found = self.0.resolve(name);
        Box::pin(async move {
            let (mut public, mut refused) = (Vec::new(), None);
            for address in found.await? {
                match special_purpose(address.ip()) {
                    None => public.push(address),
                    Some(what) => refused = Some(Refused { host: format!("{host} ({})", address.ip()), what }),
                }
            }
            match refused {
                Some(refused) if public.is_empty() => Err(refused.into()),
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// A name has no public address.
#[derive(Debug)]
pub(super) struct Refused {
    host: String,
    what: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&refusal(&self.host, self.what))
    }
}

impl std::error::Error for Refused {}
