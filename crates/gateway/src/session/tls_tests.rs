//! Tests of what a client may do to a connection behind TLS.

use std::sync::mpsc;

use futures::FutureExt;
use slot_state::{EmployeeId, Room};
use support::ClientKeys;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::tests::{connected, filled};
use super::*;
use crate::security::certificate::testing::{tls_pair, tls_pair_telling};

/// Far longer than anything here takes, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_client_that_resets_while_bytes_are_owed_to_it_does_not_keep_a_thread() {
    let (ended, end) = mpsc::channel();
    // A thread of its own: one that spins cannot be stopped.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (socket, client) = tls_pair().await;
            let connection = filled(socket);
            assert!(connection.socket().owes());
            // With bytes that it has not read: a reset.
            drop(client);
            linger(&connection).await;
            assert!(connection.is_flushed() && !connection.socket().owes(), "nothing is owed to nobody");
        });
        ended.send(()).expect("waited for");
    });
    end.recv_timeout(PATIENCE).expect("the connection ends");
}

#[tokio::test]
async fn a_client_that_only_changes_its_keys_is_read_bit_by_bit_and_sent_away() {
    let keys = Arc::new(ClientKeys::default());
    let (socket, mut client) = tls_pair_telling(keys.clone()).await;
    let connection = connected(socket);
    let flooding = async move {
        let flood = keys.flood(0, 2500);
        client.get_mut().0.write_all(&flood).await.expect("writes");
        let mut last = [0; 4];
        client.read_exact(&mut last).await.expect("is told");
        last
    };
    let being_flooded = async {
        connection.socket().filled().await.expect("open");
        // Who has something to write meanwhile gets its turn after each look at what the kernel has.
        let look = connection.socket().try_read(&mut [0; 64]);
        assert_eq!(look.expect_err("nothing is said").kind(), std::io::ErrorKind::WouldBlock);
        assert!(connection.socket().filled().now_or_never().is_some(), "the kernel was not emptied");
        let mut io = SocketIo::new(connection.clone(), &[]);
        tokio::select! {
            said = io.read_u8() => panic!("nothing is said: {said:?}"),
            () = connection.woken() => assert_eq!(connection.closing(), Some(CloseCode::Policy)),
        }
        linger(&connection).await;
    };
    let ((), last) =
        timeout(PATIENCE, async { tokio::join!(being_flooded, flooding) }).await.expect("an end");
    assert_eq!(last, [0x88, 2, 0x03, 0xf0], "the close code is 1008");
}

#[tokio::test]
async fn behind_tls_a_slow_reader_is_slow_and_gets_everything_once_it_reads() {
    let (socket, client) = tls_pair().await;
    let connection = filled(socket);
    let room =
        Room { date: jiff::civil::date(2026, 11, 2), employee_id: EmployeeId::new(1).expect("a number") };
    assert_eq!(connection.offer(&Bytes::from_static(b"a diff"), room), Offered::Behind);
    assert!(!connection.is_flushed());
    // The room it missed comes back once everything else has left.
    let (mut reading, caught_up) = (client, connection.clone());
    let mut bytes = vec![0; 64 * 1024];
    let missed = async {
        loop {
            caught_up.socket().writable().await.expect("open");
            if let Some(room) = caught_up.flush() {
                return room;
            }
        }
    };
    tokio::pin!(missed);
    loop {
        tokio::select! {
            count = reading.read(&mut bytes) => assert!(count.expect("reads") > 0),
            missed = &mut missed => {
                assert_eq!(missed, room);
                break;
            }
        }
    }
}
