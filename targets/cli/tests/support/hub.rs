//! A hub for tests: it redirects to a CDN on another port as huggingface.co does, states checksum
//! and length in the redirection, and keeps a record of what it was asked.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

/// What the hub has, and how it behaves.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    /// The tag in the hub's redirection; none for a small file.
    pub(crate) linked_etag: Option<String>,
    pub(crate) linked_size: Option<u64>,
    /// The tag of the CDN; none where it is empty.
    pub(crate) etag: String,
    /// After how many bytes each answer of the CDN is cut, one after the other; the rest are whole.
    pub(crate) cuts: Vec<usize>,
    /// Whether a cut answer stays open for ever instead.
    pub(crate) stalls: bool,
    /// The status that the hub answers instead of a redirection.
    pub(crate) refuses: Option<&'static str>,
    /// The first byte that an answer to a range states, instead of the true one.
    pub(crate) wrong_range: Option<usize>,
    /// Bytes after those of the file.
    pub(crate) surplus: usize,
    /// The token without which the hub answers 401.
    pub(crate) wants: Option<&'static str>,
}

impl File {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            linked_etag: Some(sha256(&bytes)),
            linked_size: Some(bytes.len() as u64),
            bytes,
            etag: "\"first\"".to_owned(),
            cuts: Vec::new(),
            stalls: false,
            refuses: None,
            wrong_range: None,
            surplus: 0,
            wants: None,
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    Hub,
    Cdn,
    Proxy,
}

/// A request, and how many bytes of the file its answer had.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) site: Site,
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) sent: usize,
}

/// Servers that live as long as the test's process.
pub(crate) struct Hub {
    pub(crate) endpoint: String,
    pub(crate) proxy: String,
    pub(crate) cdn: String,
    shared: Arc<Shared>,
}

struct Shared {
    file: Mutex<File>,
    requests: Mutex<Vec<Request>>,
    cdn: String,
}

impl Hub {
    pub(crate) fn new(file: File) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let listeners = [(Site::Hub, listen()), (Site::Cdn, listen()), (Site::Proxy, listen())];
        let urls = listeners
            .each_ref()
            .map(|(_, listener)| format!("http://{}", listener.local_addr().expect("an address")));
        let [endpoint, cdn, proxy] = urls;
        let shared = Arc::new(Shared {
            file: Mutex::new(file),
            requests: Mutex::new(Vec::new()),
            cdn: cdn.clone(),
        });
        for (site, listener) in listeners {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let shared = Arc::clone(&shared);
                    // A client that goes away is what some tests are about.
                    thread::spawn(move || {
                        let _ = shared.serve(&stream.expect("a connection"), site);
                    });
                }
            });
        }
        Self { endpoint, proxy, cdn, shared }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut File)) {
        change(&mut self.shared.file.lock().expect("no panic"));
    }

    /// The requests up to now, which are forgotten.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests.lock().expect("no panic"))
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream, site: Site) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut method, mut target, mut headers) = read_request(&mut reader)?;
        if method == "CONNECT" {
            self.record(Site::Proxy, &target, &headers);
            (&mut &*stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            (method, target, headers) = read_request(&mut reader)?;
        }
        assert_eq!(method, "GET");
        let index = self.record(site, &target, &headers);
        let mut file = self.file.lock().expect("no panic");
        let cut = (site == Site::Cdn && !file.cuts.is_empty()).then(|| file.cuts.remove(0));
        let file = file.clone();
        match site {
            Site::Cdn => self.send(stream, &file, &headers, index, cut),
            Site::Hub | Site::Proxy => self.redirect(stream, &file, &target, &headers),
        }
    }

    fn record(&self, site: Site, target: &str, headers: &HashMap<String, String>) -> usize {
        let mut requests = self.requests.lock().expect("no panic");
        let (target, headers) = (target.to_owned(), headers.clone());
        requests.push(Request { site, target, headers, sent: 0 });
        requests.len() - 1
    }

    fn redirect(
        &self,
        mut stream: &TcpStream,
        file: &File,
        target: &str,
        headers: &HashMap<String, String>,
    ) -> std::io::Result<()> {
        let token = headers.get("authorization").map(String::as_str);
        let unknown = file.wants.is_some_and(|wanted| token != Some(&format!("Bearer {wanted}")));
        let refuses = if unknown { Some("401 Unauthorized") } else { file.refuses };
        if let Some(status) = refuses {
            return write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        }
        // A repository of another name is redirected first, within the hub.
        if let Some(rest) = target.strip_prefix("/old/") {
            let head = "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n";
            return write!(stream, "{head}Location: /new/{rest}\r\nConnection: close\r\n\r\n");
        }
        let mut head = String::from("HTTP/1.1 302 Found\r\nConnection: close\r\n");
        if let Some(etag) = &file.linked_etag {
            head += &format!("X-Linked-ETag: \"{etag}\"\r\n");
        }
        if let Some(size) = file.linked_size {
            head += &format!("X-Linked-Size: {size}\r\n");
        }
        let cdn = &self.cdn;
        write!(stream, "{head}Location: {cdn}/file?signature=x\r\nContent-Length: 5\r\n\r\nFound")
    }

    fn send(
        &self,
        mut stream: &TcpStream,
        file: &File,
        headers: &HashMap<String, String>,
        index: usize,
        cut: Option<usize>,
    ) -> std::io::Result<()> {
        let all = file.bytes.len();
        let asked = headers.get("range").map(|range| {
            let first = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
            first.and_then(|first| first.parse::<usize>().ok()).expect("an open range")
        });
        let same = headers.get("if-range").is_none_or(|etag| *etag == file.etag);
        let first = asked.filter(|_| same);
        let etag = &file.etag;
        let mut head = match first {
            Some(first) if first >= all => {
                let head = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n";
                return write!(stream, "{head}Content-Range: bytes */{all}\r\n\r\n");
            }
            Some(first) => {
                let said = file.wrong_range.unwrap_or(first);
                format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {said}-{}/{all}\r\n",
                    all - 1
                )
            }
            None => "HTTP/1.1 200 OK\r\n".to_owned(),
        };
        let body = &file.bytes[first.unwrap_or(0)..];
        if file.surplus == 0 {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        if !etag.is_empty() {
            head += &format!("ETag: {etag}\r\n");
        }
        write!(stream, "{head}Connection: close\r\n\r\n")?;
        let sent = cut.unwrap_or(body.len()).min(body.len());
        stream.write_all(&body[..sent])?;
        stream.write_all(&vec![0; file.surplus])?;
        stream.flush()?;
        if let Some(request) = self.requests.lock().expect("no panic").get_mut(index) {
            request.sent = sent;
        }
        if cut.is_some() && file.stalls {
            // Until the other side goes.
            let _ = stream.read(&mut [0]);
        }
        Ok(())
    }
}

type Head = (String, String, HashMap<String, String>);

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Head> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let head = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    Ok((head.0, head.1, headers))
}
