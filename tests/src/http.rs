//! HTTP as bytes on a socket: requests to a node's RPC, and a server that gives canned answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::deadline::within;
use crate::process::PATIENCE;

/// An answer as it was received.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, status line and all.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// Itself, with the status `status`.
    ///
    /// # Panics
    /// It has another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The body as JSON. Numbers above 64 bits lose their last digits: see [`Answer::normal`].
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The body in one form that every JSON text of the same value has, numbers of any size included.
    #[track_caller]
    pub fn normal(&self) -> String {
        normal(&self.body)
    }

    /// The text of its `detail`, which must be all that it has.
    #[track_caller]
    pub fn detail(&self) -> String {
        let json = self.json();
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(1), "{self:?}");
        json["detail"].as_str().unwrap_or_else(|| panic!("no detail: {self:?}")).to_owned()
    }
}

/// A JSON text with sorted names, without white space, with one spelling of each string; numbers stay as they are.
#[track_caller]
pub fn normal(json: &str) -> String {
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap();
            let fields =
                fields.iter().map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), normal(value.get())));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Some(b'[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(json).unwrap();
            format!("[{}]", items.iter().map(|item| normal(item.get())).collect::<Vec<_>>().join(","))
        }
        Some(b'"') => Value::from(serde_json::from_str::<String>(json).unwrap()).to_string(),
        _ => json.to_owned(),
    }
}

/// `GET path` from the RPC on `port`.
pub async fn get(port: u16, path: &str) -> Answer {
    request(port, "GET", path, "localhost", "", "").await
}

/// `POST path` to the RPC on `port`.
pub async fn post(port: u16, path: &str, body: &str) -> Answer {
    request(port, "POST", path, "localhost", "Content-Type: application/json\r\n", body).await
}

/// A request to a node that may not be there, or end while it answers: then there is no answer.
pub async fn attempt(port: u16, method: &str, path: &str, body: &str) -> Option<Answer> {
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let received = tokio::time::timeout(PATIENCE, exchange(port, &text)).await.ok()?.ok()?;
    let (head, body) = received.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A request with everything chosen; `headers` are whole lines.
pub async fn request(port: u16, method: &str, path: &str, host: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n");
    raw(port, &format!("{head}{headers}\r\n{body}")).await
}

/// Sends a text and reads the answer, until the other side ends the connection.
pub async fn raw(port: u16, text: &str) -> Answer {
    let received = within(PATIENCE, "an answer of the RPC", exchange(port, text)).await.unwrap();
    let (head, body) = received.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {received:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Sends a text, and gives all that comes back until the other side ends the connection.
async fn exchange(port: u16, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(text.as_bytes()).await?;
    let mut received = String::new();
    stream.read_to_string(&mut received).await?;
    Ok(received)
}

/// A server that answers each request by its method and path, and keeps what it was asked.
#[derive(Debug)]
pub struct Canned {
    /// Where it listens.
    pub port: u16,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    task: JoinHandle<()>,
}

impl Canned {
    /// Starts it. `answer` is given `"GET /path"`, and gives status and body.
    pub async fn start(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some((line, body)) = read_request(&mut stream).await else { continue };
                let (status, text) = answer(&line);
                kept.lock().unwrap().push((line, body));
                let head =
                    format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
                let _ = stream.write_all((head + &text).as_bytes()).await;
            }
        });
        Self { port, asked, task }
    }

    /// The bodies of the requests with this method and path, so far.
    pub fn asked(&self, line: &str) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|(asked, _)| asked == line).map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Method and path, and the body.
async fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
                let line = text.lines().next()?.rsplit_once(' ')?.0.to_owned();
                return Some((line, body.to_owned()));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_form_keeps_large_numbers_and_forgets_spelling() {
        let one = normal(r#"{"b": [1, 340282366920938463463374607431768211455], "a": "\u00e9"}"#);
        assert_eq!(one, r#"{"a":"é","b":[1,340282366920938463463374607431768211455]}"#);
    }
}
