//! Noting when, from where and how a connection was opened: socketioxide keeps the request, but not
//! these.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use http::{Request, Uri, request::Parts, uri::Scheme};
use tower_layer::Layer;
use tower_service::Service;

/// The client's address, for [`HandshakeLayer`]: whoever accepts connections puts it into the
/// extensions of their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// The connection is encrypted, for [`HandshakeLayer`]: whoever terminates TLS puts it into the
/// extensions of the requests. A request with an `https` URL needs no such mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secure;

/// What the layer noted; in the extensions of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: SystemTime,
    pub(super) peer: Option<IpAddr>,
    pub(super) secure: bool,
}

/// A tower layer that notes the time, the client's address and TLS of the requests that open
/// Socket.IO connections, so that other servers find them in the handshakes of this one's sockets.
/// [`Board::layer`](crate::Board::layer) has one; with a server that is built by hand, put it
/// around socketioxide's layer or service.
///
/// The address is that of a [`PeerAddr`] among the request's extensions, or what
/// [`peer`](Self::peer) finds. It is never taken from headers like `x-forwarded-for`, which a
/// client can write as it likes, unless you do so with `peer`, behind a proxy that you trust.
///
/// When several layers are around one another, the outermost counts.
///
/// ```
/// use switchboard::{HandshakeLayer, PeerAddr};
///
/// // With axum: `ConnectInfo<SocketAddr>` instead of a type of your own.
/// #[derive(Clone)]
/// struct ConnectInfo(std::net::SocketAddr);
///
/// let layer = HandshakeLayer::new()
///     .peer(|request| Some(request.extensions.get::<ConnectInfo>()?.0.ip()));
/// # let _ = layer;
/// ```
#[derive(Clone, Default)]
pub struct HandshakeLayer {
    peer: Option<Arc<FindPeer>>,
}

type FindPeer = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

impl HandshakeLayer {
    /// A layer that finds the client's address in [`PeerAddr`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds the client's address in this way first.
    #[must_use]
    pub fn peer(mut self, find: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.peer = Some(Arc::new(find));
        self
    }

    fn note(&self, request: &mut Parts) {
        if request.extensions.get::<Arrival>().is_some() {
            return;
        }
        let found = self.peer.as_ref().and_then(|find| find(request));
        let told = || request.extensions.get().map(|PeerAddr(addr)| addr.ip());
        let arrival = Arrival {
            at: SystemTime::now(),
            peer: found.or_else(told),
            secure: request.extensions.get::<Secure>().is_some()
                || request.uri.scheme() == Some(&Scheme::HTTPS),
        };
        request.extensions.insert(arrival);
    }
}

impl fmt::Debug for HandshakeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for HandshakeLayer {
    type Service = HandshakeService<S>;

    fn layer(&self, inner: S) -> HandshakeService<S> {
        HandshakeService {
            layer: self.clone(),
            inner,
        }
    }
}

/// The service that a [`HandshakeLayer`] makes.
#[derive(Clone, Debug)]
pub struct HandshakeService<S> {
    layer: HandshakeLayer,
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for HandshakeService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        if !opens_connection(request.uri()) {
            return self.inner.call(request);
        }
        let (mut parts, body) = request.into_parts();
        self.layer.note(&mut parts);
        self.inner.call(Request::from_parts(parts, body))
    }
}

/// Engine.IO's first request has its version and no session id.
fn opens_connection(uri: &Uri) -> bool {
    let Some(query) = uri.query() else {
        return false;
    };
    let has = |name: &str| query.split('&').any(|pair| pair.starts_with(name));
    has("EIO=") && !has("sid=")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::{Ready, ready};

    use super::*;

    /// Answers with what was noted.
    #[derive(Clone)]
    struct Echo;

    impl Service<Request<()>> for Echo {
        type Response = Option<Arrival>;
        type Error = ();
        type Future = Ready<Result<Option<Arrival>, ()>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            ready(Ok(request.extensions().get().copied()))
        }
    }

    const OPEN: &str = "/socket.io/?EIO=4&transport=polling";
    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

    fn request(uri: &str) -> Request<()> {
        Request::builder().uri(uri).body(()).unwrap()
    }

    fn noted<L: Layer<Echo>>(layer: &L, request: Request<()>) -> Option<Arrival>
    where
        L::Service: Service<Request<()>, Future = Ready<Result<Option<Arrival>, ()>>>,
    {
        layer.layer(Echo).call(request).into_inner().unwrap()
    }

    #[test]
    fn only_requests_that_open_a_connection_are_noted() {
        let layer = HandshakeLayer::new();
        assert!(noted(&layer, request(OPEN)).is_some());
        for other in [
            "/",
            "/page?sid=1",
            "/socket.io/?EIO=4&transport=polling&sid=x",
        ] {
            assert!(noted(&layer, request(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn address_and_tls_are_those_that_the_acceptor_tells() {
        let layer = HandshakeLayer::new();
        let before = SystemTime::now();
        let arrival = noted(&layer, request(OPEN)).unwrap();
        assert!(arrival.at >= before && arrival.at <= SystemTime::now());
        assert_eq!((arrival.peer, arrival.secure), (None, false));

        let mut told = request(OPEN);
        told.extensions_mut().insert(PeerAddr(PEER));
        told.extensions_mut().insert(Secure);
        let arrival = noted(&layer, told).unwrap();
        assert_eq!((arrival.peer, arrival.secure), (Some(PEER.ip()), true));

        let https = request("https://host/socket.io/?EIO=4");
        assert!(noted(&layer, https).unwrap().secure);
    }

    #[test]
    fn headers_are_not_believed_unless_the_application_does() {
        let forwarded = || {
            let mut request = request(OPEN);
            request.extensions_mut().insert(PeerAddr(PEER));
            request
                .headers_mut()
                .insert("x-forwarded-for", "10.0.0.9".parse().unwrap());
            request
        };
        let layer = HandshakeLayer::new();
        assert_eq!(noted(&layer, forwarded()).unwrap().peer, Some(PEER.ip()));
        let trusting = HandshakeLayer::new().peer(|request| {
            let header = request.headers.get("x-forwarded-for")?;
            header.to_str().ok()?.parse().ok()
        });
        assert_eq!(
            noted(&trusting, forwarded()).unwrap().peer,
            Some(IpAddr::from([10, 0, 0, 9]))
        );
    }

    #[test]
    fn the_outermost_layer_counts() {
        let outer = HandshakeLayer::new().peer(|_| Some(PEER.ip()));
        let inner = HandshakeLayer::new().peer(|_| None);
        let both = tower_layer::Stack::new(inner, outer);
        assert_eq!(noted(&both, request(OPEN)).unwrap().peer, Some(PEER.ip()));
    }
}
