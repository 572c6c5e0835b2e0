//! [`Ledger`] on Redis: names of queues, supervision events and worker rows. Each of the three is one key, which no transition touches. `forget` removes
//! the row of a process instance, and its replay slots in the given queues. All calls use the connection `general`, so that they hold up neither renewals nor the calls
//! of workers about jobs ([`RedisStore`]).

use super::reply::{Reply, big_endian};
use super::scripts::about_key;
use super::{RedisStore, scripts};
use crate::events::SupervisionEvent;
use crate::job::{InstanceId, QueueName};
use crate::store::batch::check_batch;
use crate::store::{
    BATCH_MAX, Cursor, LEDGER_BYTES_MAX, LEDGER_EVENTS_MAX, Ledger, LedgerPage, StoreError, StoreFuture,
    WORKER_ROW_AGE_MAX, WorkerRow,
};
use crate::units::millis;

/// An event or a worker row as it is stored: in the encoding of payloads, which keeps the names of fields.
fn encode<T: serde::Serialize>(operation: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    crate::codec::to_payload(value).map_err(|error| StoreError::Refused { operation, reason: error.to_string() })
}

fn is_stream_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(ms, n)| ms.parse::<u64>().is_ok() && n.parse::<u64>().is_ok())
}

impl Ledger for RedisStore {
    fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            check_batch("announce", queues.len())?;
            if queues.is_empty() {
                return Ok(());
            }
            let key = &self.keyspace().queues;
            let mut command = redis::cmd("SADD");
            command.arg(key);
            for queue in queues {
                command.arg(queue.as_str());
            }
            self.0.general.send("announce", &command).await.map(drop).map_err(|error| about_key(key, error))
        })
    }

    fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            check_batch("record", events.len())?;
            let events: Vec<Vec<u8>> = events.iter().map(|event| encode("record", event)).collect::<Result<_, _>>()?;
            scripts::record(&self.0.general, LEDGER_EVENTS_MAX, LEDGER_BYTES_MAX, &events).await
        })
    }

    fn events<'a>(&'a self, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, LedgerPage> {
        const OPERATION: &str = "events";
        Box::pin(async move {
            let limit = limit.clamp(1, BATCH_MAX);
            // The cursor is the id of a stream entry: ids do not change while events are appended and deleted.
            let upper = match from {
                Some(cursor) if is_stream_id(cursor.as_str()) => format!("({}", cursor.as_str()),
                Some(_) => {
                    let reason = "this cursor was not made by this store; start again without one".into();
                    return Err(StoreError::Refused { operation: OPERATION, reason });
                }
                None => "+".to_owned(),
            };
            let key = &self.keyspace().ledger;
            let mut command = redis::cmd("XREVRANGE");
            // One more, to learn whether there is a next page.
            command.arg(key).arg(upper).arg("-").arg("COUNT").arg(limit + 1);
            let found = self.0.general.send(OPERATION, &command).await.map_err(|error| about_key(key, error))?;
            let mut entries = Reply::new(OPERATION, found)?;
            let mut page = LedgerPage::default();
            let mut last = String::new();
            for _ in 0..limit.min(entries.len()) {
                let mut entry = entries.list()?;
                last = entry.text()?;
                let mut fields = entry.list()?;
                fields.bytes()?; // the name of the field that holds the event (`record.lua`)
                // An event that cannot be read, such as one of a newer version, is left out of the page: an error would hide all the others.
                if let Ok(event) = crate::codec::from_payload::<SupervisionEvent>(&fields.bytes()?) {
                    page.events.push(event);
                }
            }
            page.next = (!entries.is_empty()).then(|| Cursor::from(last));
            Ok(page)
        })
    }

    fn heartbeat<'a>(&'a self, row: &'a WorkerRow) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let encoded = encode("heartbeat", row)?;
            scripts::heartbeat(&self.0.general, row.instance, &encoded, WORKER_ROW_AGE_MAX).await
        })
    }

    fn workers(&self) -> StoreFuture<'_, Vec<WorkerRow>> {
        const OPERATION: &str = "workers";
        Box::pin(async move {
            let now_ms = scripts::probe(&self.0.general).await?.now_ms;
            let key = &self.keyspace().workers;
            let found = self.0.general.send(OPERATION, redis::cmd("HGETALL").arg(key)).await;
            let mut found = Reply::new(OPERATION, found.map_err(|error| about_key(key, error))?)?;
            let age_max_ms = millis(WORKER_ROW_AGE_MAX);
            let mut rows = Vec::with_capacity(found.len());
            while !found.is_empty() {
                let (field, value) = (found.bytes()?, found.bytes()?);
                let Ok(instance) = uuid::Uuid::from_slice(&field) else { continue };
                // 6 bytes of time, then the encoded row, as `heartbeat.lua` writes them.
                let Some((seen, row)) = value.split_at_checked(6) else { continue };
                let seen_ms = big_endian(seen);
                if seen_ms.saturating_add(age_max_ms) < now_ms {
                    continue;
                }
                // A row that cannot be read is probably one of a newer version, so the worker is listed all the same.
                rows.push(match crate::codec::from_payload::<WorkerRow>(row) {
                    Ok(row) => WorkerRow { seen_ms, ..row },
                    Err(_) => WorkerRow::unreadable(instance.into(), seen_ms),
                });
            }
            rows.sort_by_key(|row| row.instance);
            Ok(rows)
        })
    }

    fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            check_batch("forget", queues.len())?;
            let key = &self.keyspace().workers;
            let mut command = redis::cmd("HDEL");
            command.arg(key).arg(&instance.as_bytes()[..]);
            self.0.general.send("forget", &command).await.map_err(|error| about_key(key, error))?;
            for queue in queues {
                scripts::forget(&self.0.general, &self.keys(queue), instance).await?;
            }
            Ok(())
        })
    }
}
