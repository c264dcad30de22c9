//! A chain behind a server, and clients that do only what tests need.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use chain::{Certificate, Chain, Rpc, Sealing, ServerAccess, ServerHandle, ServerLimits};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};

use super::{Wallet, open};

/// A served chain, on a port of its own.
pub struct Served {
    pub rpc: Rpc,
    pub port: u16,
    pub handle: Option<ServerHandle>,
    pub runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl Served {
    /// Blocks are made at once.
    pub fn instant() -> Self {
        let served = Self::manual(ServerLimits::default());
        served.rpc.chain().run_solo(Sealing::Instant);
        served
    }

    /// Blocks are made only by [`Served::seal`].
    pub fn manual(limits: ServerLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chain = open(dir.path());
        Self::serve(dir, chain, limits, ServerAccess::default())
    }

    pub fn serve(
        dir: tempfile::TempDir,
        chain: Chain,
        limits: ServerLimits,
        access: ServerAccess,
    ) -> Self {
        // One thread, so that a test can keep it busy.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let rpc = Rpc::new(chain);
        let handle = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            rpc.serve_to(listener, limits, access).unwrap()
        });
        Self { rpc, port: handle.address().port(), handle: Some(handle), runtime, _dir: dir }
    }

    pub fn seal(&self) {
        let payload = self.rpc.chain().propose().unwrap();
        self.rpc.chain().apply(payload, Certificate::new()).unwrap().wait().unwrap();
    }

    /// Makes `count` blocks.
    pub fn blocks(&self, wallet: &Wallet, count: u64) {
        for value in 0..count {
            self.rpc.chain().submit(wallet.store(value % 5, value)).unwrap();
            self.seal();
        }
    }

    pub fn post(&self, body: impl ToString) -> Answer {
        request(self.port, "POST / HTTP/1.1\r\nhost: localhost", body.to_string().as_bytes())
    }

    pub fn call(&self, method: &str, params: Value) -> Value {
        self.post(json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).json()
    }

    #[track_caller]
    pub fn ok(&self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    #[track_caller]
    pub fn code(&self, method: &str, params: Value) -> i64 {
        let answer = self.call(method, params);
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{method}: {answer}"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.stop();
        }
        self.rpc.chain().close();
    }
}

pub struct Answer {
    pub status: u16,
    /// In small letters.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // Only so that a failing test ends.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Sends one request and reads the whole answer.
pub fn request(port: u16, head: &str, body: &[u8]) -> Answer {
    let mut stream = connect(port);
    let length = body.len();
    let head = format!("{head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses the head need not read the body.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

/// A WebSocket client that does only what these tests need.
pub struct Socket {
    stream: BufReader<TcpStream>,
    pub notifications: VecDeque<Value>,
    last_id: u64,
}

impl Socket {
    pub fn open(port: u16) -> Self {
        Self::try_open(port, "host: localhost").unwrap()
    }

    /// The status when the server refuses.
    pub fn try_open(port: u16, headers: &str) -> Result<Self, u16> {
        let mut stream = BufReader::new(connect(port));
        let head = format!(
            "GET / HTTP/1.1\r\n{headers}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 101 {
            return Err(status);
        }
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
        }
        Ok(Self { stream, notifications: VecDeque::new(), last_id: 0 })
    }

    pub fn send(&mut self, text: &str) {
        // One final text frame, with a mask of zeros.
        let mut frame = vec![0x81, 0x80 | 127];
        frame.extend((text.len() as u64).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.stream.get_mut().write_all(&frame).unwrap();
    }

    /// The next message; nothing when the connection is over.
    pub fn next(&mut self) -> Option<Value> {
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head).ok()?;
            let mut length = [0; 8];
            match head[1] & 0x7f {
                126 => self.stream.read_exact(&mut length[6..]).ok()?,
                127 => self.stream.read_exact(&mut length).ok()?,
                short => length[7] = short,
            }
            let length = usize::try_from(u64::from_be_bytes(length)).unwrap();
            let mut text = vec![0; length];
            self.stream.read_exact(&mut text).ok()?;
            match head[0] & 0x0f {
                1 => return Some(serde_json::from_slice(&text).unwrap()),
                8 => return None,
                _ => {}
            }
        }
    }

    /// Calls and waits for the answer; notifications that come before it are kept.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        self.answer(id)
    }

    pub fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let (id, jsonrpc) = (self.last_id, "2.0");
        let call = json!({ "jsonrpc": jsonrpc, "id": id, "method": method, "params": params });
        self.send(&call.to_string());
        id
    }

    pub fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.next().unwrap();
            if message["id"] == id {
                return message;
            }
            assert_eq!(message["method"], "eth_subscription");
            self.notifications.push_back(message["params"].clone());
        }
    }

    pub fn notification(&mut self) -> Value {
        if let Some(first) = self.notifications.pop_front() {
            return first;
        }
        let message = self.next().unwrap();
        assert_eq!(message["method"], "eth_subscription", "{message}");
        message["params"].clone()
    }
}
