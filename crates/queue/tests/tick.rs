//! Maintenance ticks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_queue::every;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::stage::must;

#[tokio::test(flavor = "multi_thread")]
async fn ticks_go_on_after_failures_panics_and_slow_calls_and_never_overlap() {
    let (called, mut calls) = mpsc::unbounded_channel();
    let (count, alone) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(1)));
    let handler = move || {
        let (called, count, alone) = (called.clone(), count.clone(), alone.clone());
        async move {
            let _alone = alone.try_acquire().expect("one call at a time");
            let call = count.fetch_add(1, Ordering::SeqCst);
            called.send(call).unwrap();
            match call {
                0 => Err("fails"),
                1 => panic!("as it should"),
                // Slower than the interval.
                2 => {
                    tokio::time::sleep(Duration::from_millis(2500)).await;
                    Ok(())
                }
                _ => Ok(()),
            }
        }
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let ticking = tokio::spawn(every("test", Duration::from_secs(1), handler, async {
        let _ = stopped.await;
    }));
    for expected in 0..5 {
        assert_eq!(must(calls.recv()).await, Some(expected));
    }
    drop(stop);
    must(ticking).await.unwrap();
    assert_eq!(must(calls.recv()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_a_call_under_way() {
    let (called, mut calls) = mpsc::unbounded_channel();
    let handler = move || {
        called.send(()).unwrap();
        std::future::pending::<Result<(), String>>()
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let ticking = tokio::spawn(every("test", Duration::ZERO, handler, async {
        let _ = stopped.await;
    }));
    must(calls.recv()).await.unwrap();
    drop(stop);
    must(ticking).await.unwrap();
}
