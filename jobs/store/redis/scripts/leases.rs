//! Calls the script of the trait `Leases`: all three verbs are `renew.lua`.

use std::time::Duration;

use redis::Cmd;

use super::{RENEW, letters, millis, on_queue};
use crate::job::Lease;
use crate::store::redis::connection::Link;
use crate::store::redis::keys::QueueKeys;
use crate::store::redis::progress;
use crate::store::{Renewal, Renewed, Report, StoreError};

/// Changes only the leases.
pub(in crate::store::redis) async fn renew(
    link: &Link,
    keys: &QueueKeys,
    lease: Duration,
    held: &[Lease],
) -> Result<Renewed, StoreError> {
    extend("renew", "r", link, keys, lease, held, name_lease).await
}

/// Also records that the handlers of these jobs are about to start.
pub(in crate::store::redis) async fn begin(
    link: &Link,
    keys: &QueueKeys,
    lease: Duration,
    held: &[Lease],
) -> Result<Renewed, StoreError> {
    extend("begin", "b", link, keys, lease, held, name_lease).await
}

/// Also records what the handlers of these jobs report.
pub(in crate::store::redis) async fn report(
    link: &Link,
    keys: &QueueKeys,
    lease: Duration,
    reports: &[Report],
) -> Result<Renewed, StoreError> {
    extend("report", "p", link, keys, lease, reports, |command, report| {
        name_lease(command, &report.lease);
        command.arg(progress::reported_bytes(&report.progress));
    })
    .await
}

fn name_lease(command: &mut Cmd, lease: &Lease) {
    command.arg(lease.id.as_wire()).arg(&lease.token.to_wire()[..]);
}

async fn extend<T>(
    operation: &'static str,
    letter: &'static str,
    link: &Link,
    keys: &QueueKeys,
    lease: Duration,
    items: &[T],
    argument: impl Fn(&mut Cmd, &T),
) -> Result<Renewed, StoreError> {
    let mut reply = on_queue(operation, link, keys, &RENEW, |command| {
        command.arg(millis(lease)).arg(letter);
        for item in items {
            argument(command, item);
        }
    })
    .await?;
    reply.status()?;
    let now_ms = reply.number()?;
    let results = letters(operation, &mut reply, items.len())?
        .into_iter()
        .map(|letter| match letter {
            b'k' => Renewal::Kept { cancel_asked: false },
            b'c' => Renewal::Kept { cancel_asked: true },
            _ => Renewal::Stale,
        })
        .collect();
    Ok(Renewed { now_ms, results })
}
