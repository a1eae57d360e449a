//! A page without the push client: posts WordPress' heartbeat form, or calls the REST paths, one request a connection.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Gateway, PATIENCE, Room};

const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";
const JSON: &str = "application/json";
const AJAX: &str = "/wp-admin/admin-ajax.php";
const REST: &str = "/wp-json/appointease/v1";

/// A browser that polls.
#[derive(Clone, Debug)]
pub struct LegacyPage {
    addr: SocketAddr,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub body: String,
    /// The body as JSON; `null` where it is none.
    pub json: Value,
}

impl LegacyPage {
    /// A page served by this gateway.
    pub fn of(gateway: &Gateway) -> Self {
        Self::at(gateway.addr())
    }

    /// A page served by whatever leads to a gateway from here.
    pub fn at(addr: SocketAddr) -> Self {
        Self { addr, headers: Vec::new() }
    }

    /// The same page with a header on every request.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("a header name");
        self.headers.push((name, HeaderValue::try_from(value).expect("a header value")));
        self
    }

    /// The same page, seen by the gateway's proxy at this address.
    pub fn from_address(self, address: &str) -> Self {
        self.with_header("x-forwarded-for", address)
    }

    /// The same page, asking for this host.
    pub fn with_host(self, host: &str) -> Self {
        self.with_header("host", host)
    }

    /// Posts a heartbeat form with this data, as jQuery encodes it, to WordPress' path.
    pub async fn heartbeat(&self, data: Value) -> Answer {
        self.heartbeat_with(data, &[("interval", "5"), ("has_focus", "true")]).await
    }

    /// As [`LegacyPage::heartbeat`], with these fields beside the data.
    pub async fn heartbeat_with(&self, data: Value, more: &[(&str, &str)]) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        append_nested(&mut form, "data", &data);
        form.extend_pairs(more);
        form.extend_pairs([("_nonce", ""), ("action", "heartbeat"), ("screen_id", "front")]);
        self.send(Method::POST, AJAX, FORM, form.finish()).await
    }

    /// Posts the same as JSON to the path of our own.
    pub async fn heartbeat_json(&self, data: Value) -> Answer {
        let body = json!({"action": "heartbeat", "data": data});
        self.send(Method::POST, "/slotcast/heartbeat", JSON, body.to_string()).await
    }

    /// Polls the room by form with more fields, as `[("client_id", "bob"), ("time", "10:00")]`.
    pub async fn poll(&self, room: &Room, more: &[(&str, &str)]) -> Value {
        let answer = self.heartbeat(json!({"appointease_poll": room.fields(more)})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    }

    /// Selects by form and returns `appointease_select` of the reply.
    pub async fn select(&self, room: &Room, time: &str, client_id: &str) -> Value {
        self.act("appointease_select", room.fields(&[("time", time), ("client_id", client_id)])).await
    }

    /// Deselects by form and returns `appointease_deselect` of the reply.
    pub async fn deselect(&self, room: &Room, time: &str, client_id: Option<&str>) -> Value {
        let client = client_id.map(|client| ("client_id", client));
        let fields: Vec<_> = [("time", time)].into_iter().chain(client).collect();
        self.act("appointease_deselect", room.fields(&fields)).await
    }

    /// `POST` of JSON to a path under `/wp-json/appointease/v1`.
    pub async fn rest_post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, &format!("{REST}{path}"), JSON, body.to_string()).await
    }

    /// `GET` of a path under `/wp-json/appointease/v1`, with a query.
    pub async fn rest_get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.get(&format!("{REST}{path}?{query}")).await
    }

    /// `GET` of any path.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "", String::new()).await
    }

    /// Any request.
    pub async fn send(&self, method: Method, path: &str, content_type: &str, body: String) -> Answer {
        let request = self.request(method, path, content_type, body);
        timeout(PATIENCE, self.exchange(request)).await.unwrap_or_else(|_| panic!("no answer on {path}"))
    }

    async fn act(&self, handle: &str, fields: Value) -> Value {
        let answer = self.heartbeat(json!({handle: fields})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json[handle].clone()
    }

    fn request(&self, method: Method, path: &str, content_type: &str, body: String) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a path");
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::try_from(self.addr.to_string()).expect("a host"));
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::try_from(content_type).expect("a type"));
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        request
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.addr).await.expect("the gateway accepts");
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.expect("a connection");
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        connection.abort();
        let body = String::from_utf8(body.to_vec()).expect("a body of text");
        let json = serde_json::from_str(&body).unwrap_or(Value::Null);
        Answer { status: head.status.as_u16(), headers: head.headers, body, json }
    }
}

/// As jQuery.param: `data[appointease_poll][date]=…`, every value a string, empty things left out.
fn append_nested(form: &mut form_urlencoded::Serializer<'_, String>, name: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                append_nested(form, &format!("{name}[{field}]"), value);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                append_nested(form, &format!("{name}[{at}]"), item);
            }
        }
        Value::Null => {
            form.append_pair(name, "");
        }
        Value::String(text) => {
            form.append_pair(name, text);
        }
        other => {
            form.append_pair(name, &other.to_string());
        }
    }
}

impl Answer {
    /// The sorted names of the JSON object's fields.
    pub fn fields(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .json
            .as_object()
            .map(|object| object.keys().map(String::as_str).collect())
            .unwrap_or_default();
        names.sort_unstable();
        names
    }

    /// Panics unless it is WordPress' REST error with this status and code.
    #[track_caller]
    pub fn assert_rest_error(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json["code"], code, "{self:?}");
        assert!(self.json["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        assert_eq!(self.json["data"]["status"], status, "{self:?}");
    }
}
