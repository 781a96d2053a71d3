//! The front by the crates `socketioxide` and `axum`: an implementation of the protocol that is
//! neither ours nor written for these tests.

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::http::{HeaderMap, Method, Response, Uri, header};
use axum::serve::{IncomingStream, Listener};
use serde_json::Value;
use socketioxide::extract::{AckSender, Event, SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::{SocketIo, TransportType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Handle, Runtime};

use super::routes::{self, Asked};
use super::state::Way;
use super::{Shared, events};

/// How many packets wait for one socket.
const MAX_WAITING: usize = 65_536;

/// A socket of the library's.
#[derive(Debug)]
pub(super) struct Socket {
    socket: SocketRef,
    peer: SocketAddr,
    runtime: Handle,
    connections: Connections,
    shared: Arc<Shared>,
}

impl Socket {
    pub(super) fn emit(&self, name: &str, payload: &Value) {
        // One that is gone is noticed by the library.
        self.socket.emit(name, payload).unwrap_or_default();
    }

    /// Sends an event, and passes its acknowledgement on.
    pub(super) fn ask(&self, name: &str, payload: &Value, answer: Sender<Value>) {
        let _entered = self.runtime.enter();
        let acknowledged = self.socket.emit_with_ack::<_, Value>(name, payload);
        let heard = self.shared.clone();
        self.runtime.spawn(async move {
            if let Ok(acknowledged) = acknowledged
                && let Ok(value) = acknowledged.await
            {
                heard.lock().hear("acknowledgement", &value);
                // Nobody may wait any more.
                answer.send(value).unwrap_or_default();
            }
        });
    }

    /// Cuts it off without a word.
    pub(super) fn cut(&self) {
        self.connections.cut(self.peer);
    }
}

/// The connections that there are, to be cut off.
#[derive(Clone, Debug, Default)]
struct Connections(Arc<Mutex<BTreeMap<SocketAddr, Weak<TcpStream>>>>);

impl Connections {
    fn cut(&self, peer: SocketAddr) {
        let connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = connections.get(&peer).and_then(Weak::upgrade) {
            // It may be gone already.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }
}

/// Serves what connects to `listener`, on threads of its own.
pub(super) fn start(listener: std::net::TcpListener, shared: Arc<Shared>) -> io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let connections = Connections::default();
    let (layer, io) = SocketIo::builder()
        .req_path("/v1/updates")
        .transports([TransportType::Websocket])
        .ping_interval(Duration::from_secs(15))
        .ping_timeout(Duration::from_secs(45))
        .connect_timeout(Duration::from_secs(20))
        .ack_timeout(Duration::from_secs(30))
        .max_payload(1_000_000)
        .max_buffer_size(MAX_WAITING)
        .build_layer();
    let (admitting, entering) = (shared.clone(), shared.clone());
    let of_sockets = connections.clone();
    let enter = move |socket: SocketRef, TryData::<Value>(auth)| {
        attend(socket, &auth.unwrap_or_default(), &entering, &of_sockets);
        ready(())
    };
    let admit = move |TryData::<Value>(auth)| {
        ready(events::admit(&admitting.lock(), &auth.unwrap_or_default()))
    };
    io.ns("/", enter.with(admit));
    let of_requests = connections.clone();
    let app = axum::Router::new()
        .fallback(
            async move |peer: ConnectInfo<Peer>, method, uri, headers, body| {
                answer(&shared, &of_requests, peer.0, method, &uri, &headers, &body)
            },
        )
        .layer(DefaultBodyLimit::disable())
        .layer(layer)
        .into_make_service_with_connect_info::<Peer>();
    listener.set_nonblocking(true)?;
    let entered = runtime.enter();
    let listener = Listening {
        listener: tokio::net::TcpListener::from_std(listener)?,
        connections,
    };
    drop(entered);
    runtime.spawn(async move { axum::serve(listener, app).await });
    Ok(runtime)
}

fn attend(socket: SocketRef, auth: &Value, shared: &Arc<Shared>, connections: &Connections) {
    let peer = socket.req_parts().extensions.get::<ConnectInfo<Peer>>();
    let way = Way::Library(Box::new(Socket {
        peer: peer.expect("every request has its peer").0.0,
        socket: socket.clone(),
        runtime: Handle::current(),
        connections: connections.clone(),
        shared: shared.clone(),
    }));
    let number = events::enter(&mut shared.lock(), way, auth);
    let (told, left) = (shared.clone(), shared.clone());
    // What a handler does before it gives its future is done in the order of the events.
    socket.on_fallback(
        move |Event(name), TryData::<Value>(payload), answer: AckSender| {
            let payload = payload.unwrap_or_default();
            let acknowledgement = events::event(&mut told.lock(), number, &name, &payload);
            if let Some(acknowledgement) = acknowledgement {
                // One that is gone is noticed by the library.
                answer.send(&acknowledgement).unwrap_or_default();
            }
            told.tell();
            ready(())
        },
    );
    socket.on_disconnect(move || {
        events::leave(&mut left.lock(), number);
        left.tell();
        ready(())
    });
    shared.tell();
}

fn answer(
    shared: &Shared,
    connections: &Connections,
    Peer(peer): Peer,
    method: Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response<Body> {
    let token = headers.get(header::AUTHORIZATION);
    let token = token.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let asked = Asked {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        token: token.map(str::to_owned),
        body: serde_json::from_slice(body).unwrap_or_default(),
    };
    let answered = routes::respond(shared, &asked);
    if answered.is_none() {
        connections.cut(peer);
    }
    let (status, body) = answered.unwrap_or((500, String::new()));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status.try_into().expect("a status");
    response
}

/// The other end of a connection.
#[derive(Clone, Copy)]
struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, Listening>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listening>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A listener that knows its connections.
struct Listening {
    listener: tokio::net::TcpListener,
    connections: Connections,
}

impl Listener for Listening {
    type Io = Known;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Known, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let twin = rustix::io::dup(&stream).map(TcpStream::from);
        let twin = Arc::new(twin.expect("a descriptor"));
        let mut connections = self
            .connections
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.retain(|_, twin| twin.strong_count() > 0);
        connections.insert(peer, Arc::downgrade(&twin));
        (
            Known {
                stream,
                _twin: twin,
            },
            peer,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that can be cut off from elsewhere.
struct Known {
    stream: tokio::net::TcpStream,
    _twin: Arc<TcpStream>,
}

impl AsyncRead for Known {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Known {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
