//! Who is behind a load balancer: the PROXY header of a connection from `edge.proxy_networks`.

use crate::shard::Shard;
use postring_mail::limits::PROXY_HEADER_WAIT_MS;
use postring_smtp::Client;
use postring_smtp::proxy::{self, HEADER_BYTES_MAX, Next};
use postring_transport::Stream;
use std::time::Duration;

/// The client of a connection that was accepted from `peer`; `None`: a proxy's connection without a proxy's header, to be closed.
///
/// Reads not a byte behind the header, which is the client's, or its TLS. A line of version 1 is read byte by byte for that; version 2 takes
/// three reads.
pub(crate) async fn client(shard: &Shard, stream: &mut Stream, peer: Client) -> Option<Client> {
    if !shard.config().edge.proxy_networks.iter().any(|network| network.contains(&peer.address)) {
        return Some(peer);
    }
    // For the whole header: nobody trickles.
    stream.set_deadline(Duration::from_millis(PROXY_HEADER_WAIT_MS));
    // Boxed by the caller's task only while it lasts.
    let found = Box::pin(header(stream)).await;
    match found {
        Ok(told) => Some(told.unwrap_or(peer)),
        Err(text) => {
            tracing::warn!(target: "mail", proxy = %peer.address, "closed: {text}");
            None
        }
    }
}

async fn header(stream: &mut Stream) -> Result<Option<Client>, String> {
    let mut header = Vec::with_capacity(128);
    loop {
        match proxy::next(&header) {
            Ok(Next::Whole(client)) => return Ok(client.map(|(address, port)| Client { address, port })),
            Ok(Next::Read(more)) if header.len() + more <= HEADER_BYTES_MAX => {
                let begin = header.len();
                header.resize(begin + more, 0);
                let place = header.get_mut(begin..).unwrap_or_default();
                stream.receive_exact(place).await.map_err(|error| format!("its PROXY header did not come: {error}"))?;
            }
            Ok(Next::Read(_)) | Err(_) => return Err("it has not sent a PROXY header".to_owned()),
        }
    }
}
