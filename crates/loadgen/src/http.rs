//! A kept HTTP/1.1 connection: one request at a time, answered with a Content-Length, as all servers here do.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::LoadError;
use crate::connect::{self, Target};

/// A request without an answer by then has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection kept for many requests.
#[derive(Debug)]
pub(crate) struct KeptConnection {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl KeptConnection {
    pub(crate) async fn open(target: &Target, source: Ipv4Addr) -> Result<KeptConnection, LoadError> {
        let stream = connect::open(target.addr, source, None).await?;
        Ok(KeptConnection { stream, rest: Vec::new() })
    }

    /// Sends a request made by [`request`] and returns status and body length of the answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<(u16, usize), LoadError> {
        let answer = async {
            self.stream.write_all(request).await.map_err(LoadError::io("a request"))?;
            let (header, mut body) =
                connect::read_header(&mut self.stream, std::mem::take(&mut self.rest)).await?;
            let length = match (header.status, header.content_length) {
                (_, Some(length)) => length,
                (204 | 304, None) => 0,
                (status, None) => {
                    return Err(LoadError::Refused(format!("status {status} without a Content-Length")));
                }
            };
            while body.len() < length {
                let read = self.stream.read_buf(&mut body).await.map_err(LoadError::io("reading a body"))?;
                if read == 0 {
                    return Err(LoadError::Refused("closed within a body".to_owned()));
                }
            }
            self.rest = body.split_off(length);
            Ok((header.status, length))
        };
        timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| LoadError::Late("an HTTP answer".to_owned()))?
    }
}

/// The bytes of a request; with a body it is sent as `content_type`.
pub(crate) fn request(method: &str, host: &str, path: &str, content_type: &str, body: &str) -> Vec<u8> {
    let entity = if body.is_empty() && method == "GET" {
        String::new()
    } else {
        format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len())
    };
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: slotcast-loadgen\r\n{entity}\r\n{body}")
        .into_bytes()
}
