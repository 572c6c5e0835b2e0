//! The runner's panic hook, beside a hook that the application has set before. A process has only one panic hook, so this test has a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retraced_jobs::codec::{self, Envelope};
use retraced_jobs::context::{AttemptControl, Context, States};
use retraced_jobs::execution::{AttemptInput, AttemptOutcome, Rules, Runner};
use retraced_jobs::failure::Failure;
use retraced_jobs::handler::{Handlers, RawJob};
use retraced_jobs::job::{Counters, InstanceId, JobId, Kind, QueueName, Token};
use retraced_jobs::store::ClaimedJob;
use retraced_jobs::trace::ExecutorId;

async fn attempt(what: &'static str) -> AttemptOutcome {
    let mut handlers = Handlers::default();
    let handler = move |_: RawJob, _: Context| async move {
        match what {
            "panic" => panic!("of the handler"),
            "spawn" => {
                let joined = tokio::spawn(async { panic!("of a task") }).await;
                assert!(joined.unwrap_err().is_panic());
                let joined = tokio::task::spawn_blocking(|| panic!("of a thread")).await;
                assert!(joined.unwrap_err().is_panic());
            }
            _ => {}
        }
        Ok::<(), Failure>(())
    };
    handlers.add_any(handler).unwrap();
    let queue = QueueName::new("q").unwrap();
    let instance = InstanceId::from(uuid::Uuid::from_u128(1));
    let runner = Runner::new(queue, Arc::new(handlers), Arc::new(States::default()), Rules::default(), instance);
    let kind = Kind::new("work").unwrap();
    let payload = vec![0xc0].into();
    let envelope = Envelope::new(kind, payload);
    let (token, counters) = (Token { attempt: 1, nonce: [1; 8] }, Counters { attempts: 1, ..Counters::default() });
    let job = ClaimedJob::new(JobId::parse("j").unwrap(), token, counters, 0, codec::seal(&envelope).unwrap());
    let control = Arc::new(AttemptControl::new(tokio::time::Instant::now() + Duration::from_secs(30)));
    let executor = ExecutorId::new(0, 0);
    runner
        .attempt(AttemptInput {
            job,
            executor,
            started: tokio::time::Instant::now(),
            started_ms: 0,
            control,
            jitter: 0,
        })
        .await
}

/// Panics, and catches the panic, when its thread ends and other thread-locals are gone.
struct PanicsAtThreadEnd;

impl Drop for PanicsAtThreadEnd {
    fn drop(&mut self) {
        let caught = std::panic::catch_unwind(|| panic!("at the end of a thread"));
        PANICS_CAUGHT.fetch_add(u32::from(caught.is_err()), Ordering::SeqCst);
    }
}

static PANICS_CAUGHT: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static PANICS_AT_THREAD_END: PanicsAtThreadEnd = const { PanicsAtThreadEnd };
}

#[test]
fn an_earlier_hook_sees_panics_outside_attempts_and_not_those_of_handlers() {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let shared = reported.clone();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<&str>().map_or("?", |text| *text);
        shared.lock().unwrap().push(text.to_owned());
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let take = || std::mem::take(&mut *reported.lock().unwrap());

    let outcome = runtime.block_on(attempt("panic"));
    assert_eq!(outcome.panic.unwrap().message, "of the handler");
    assert_eq!(take(), [""; 0], "the trace and the supervision event report this panic already");

    assert!(runtime.block_on(attempt("spawn")).panic.is_none());
    assert_eq!(take(), ["of a task", "of a thread"], "panics of other tasks and threads are not the handler's");

    // Outside an attempt, on the thread that ran the attempts.
    std::panic::catch_unwind(|| panic!("of the program")).unwrap_err();
    assert_eq!(take(), ["of the program"]);

    // On a thread whose thread-locals are being dropped. A hook that panicked there would abort the process.
    let thread = std::thread::spawn(|| {
        PANICS_AT_THREAD_END.with(|_| ());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(attempt("nothing"));
    });
    thread.join().unwrap();
    assert_eq!(PANICS_CAUGHT.load(Ordering::SeqCst), 1);
    assert_eq!(take(), ["at the end of a thread"]);
}
