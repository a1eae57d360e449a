//! What is agreed on before the first frame: cases 12 and 13, extensions, are declined, and so are
//! subprotocols.

use support::{Gateway, PATIENCE, RawSocket, masked_frame, raw_http};

use super::case::{FIN, TEXT, ask};

#[tokio::test]
async fn extensions_and_subprotocols_are_declined_and_the_connection_works_without() {
    let gateway = Gateway::start().await;
    for offered in [
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-bzip2\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99\r\n",
        "Sec-WebSocket-Extensions: ;;,, \"\r\n",
        "Sec-WebSocket-Protocol: chat, superchat\r\n",
    ] {
        let (mut socket, head) = RawSocket::open_with(gateway.addr(), offered).await;
        let lower = head.to_ascii_lowercase();
        assert!(lower.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        for unheard in ["sec-websocket-extensions", "sec-websocket-protocol"] {
            assert!(!lower.contains(unheard), "{offered}{head}");
        }
        socket.send_bytes(&ask("plain")).await;
        let answer = socket.next_frame(PATIENCE).await.expect("an answer");
        assert!(String::from_utf8_lossy(&answer.payload).contains("plain"), "{answer:?}");
        // A compressed message all the same: `{}`, deflated.
        socket.send_bytes(&masked_frame(0x40 | FIN | TEXT, &[0xaa, 0xae, 0x05, 0x00])).await;
        assert_eq!(socket.close_code(PATIENCE).await, Some(1002), "{offered}");
    }
}

#[tokio::test]
async fn another_version_is_told_the_one_that_is_spoken() {
    let gateway = Gateway::start().await;
    for version in ["0", "8", "12", "14", "255", "13, 8", "x", ""] {
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            gateway.addr()
        );
        let answer = raw_http(gateway.addr(), request.as_bytes(), PATIENCE).await;
        assert_eq!(answer.status, 426, "{version}: {}", answer.text);
        assert!(
            answer.text.to_ascii_lowercase().contains("sec-websocket-version: 13\r\n"),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_read() {
    let gateway = Gateway::start().await;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        gateway.addr()
    );
    let mut socket = RawSocket::connect(gateway.addr()).await;
    socket.send_bytes(&[request.as_bytes(), &ask("a"), &ask("b")[..9]].concat()).await;
    socket.read_head().await;
    socket.send_bytes(&ask("b")[9..]).await;
    for id in ["a", "b"] {
        let answer = socket.next_frame(PATIENCE).await.expect("an answer");
        assert_eq!(
            String::from_utf8_lossy(&answer.payload),
            format!("{{\"type\":\"pong\",\"id\":\"{id}\"}}")
        );
    }
}
