//! What is asked of this server's zones beyond their names: transfers are given here, from what the shard serves; notifications and updates
//! go to the keeper of zones, which answers when it has done them; signed questions are checked and their answers signed.

use crate::shard::Event;
use futures_channel::oneshot;
use postring_control::ShardSpeaker;
use postring_dns::list::{BlockList, Part};
use postring_dns::query::QueryView;
use postring_dns::record::Record;
use postring_dns::resolver::Resolved;
use postring_dns::responder::{self, Admission, Client, Context, CookieVerdict, Hooks, Response, Said, Transport};
use postring_dns::transfer::{RecordRef, TransferRequest, outgoing, write_transfer_refusal};
use postring_dns::tsig::{Check, Signer};
use postring_dns::zone::Zone;
use postring_dns::{Name, Rcode, Rtype, Service};
use postring_transport::dns::{Beyond, Replies, Request, Resolver};
use postring_zones::{Handle, Served};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Records of a block list that is copied: all are made before the first is sent. Longer ones are copied as files.
const LIST_RECORDS_MAX: usize = 3_000_000;
/// Time the keeper of zones gives the shards to take what it publishes.
const TAKE_WAIT: Duration = Duration::from_secs(1);
/// Octets that stay for the records of a signed answer over UDP.
const UDP_BYTES: usize = 1232;

/// Gives what is served to all shards; what is published before they are there, they get at once.
#[derive(Default)]
pub(crate) struct Publisher {
    inner: Mutex<Published>,
}

#[derive(Default)]
struct Published {
    newest: Option<Arc<Served>>,
    shards: Vec<ShardSpeaker<Event>>,
}

impl Publisher {
    /// Comes back when all shards serve it, or after [`TAKE_WAIT`]: what is acknowledged to a client, and told to secondaries, is served.
    pub(crate) fn publish(&self, served: Arc<Served>) {
        let (taken, all_taken) = mpsc::channel();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.shards.iter().for_each(|shard| shard.tell(Event::Served(Arc::clone(&served), Some(taken.clone()))));
        inner.newest = Some(served);
        let (shards, until) = (inner.shards.len(), Instant::now() + TAKE_WAIT);
        drop((inner, taken));
        for _ in 0..shards {
            if all_taken.recv_timeout(until.saturating_duration_since(Instant::now())) == Err(RecvTimeoutError::Timeout) {
                return tracing::warn!("a shard is busy and serves changed zones a little later");
            }
        }
    }

    pub(crate) fn begin(&self, shards: Vec<ShardSpeaker<Event>>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.shards = shards;
        if let Some(served) = &inner.newest {
            inner.shards.iter().for_each(|shard| shard.tell(Event::Served(Arc::clone(served), None)));
        }
    }
}

/// The zones of one shard.
pub(crate) struct ZoneService {
    served: RefCell<Arc<Served>>,
    keeper: Handle,
    resolver: Resolver,
}

impl ZoneService {
    pub(crate) fn new(served: Arc<Served>, keeper: Handle, resolver: Resolver) -> Rc<Self> {
        Rc::new(Self { served: RefCell::new(served), keeper, resolver })
    }

    /// Serves this from now on.
    pub(crate) fn take(&self, served: Arc<Served>) {
        self.resolver.host(Arc::clone(&served.hosted));
        *self.served.borrow_mut() = served;
    }
}

impl Beyond for ZoneService {
    fn handle(&self, request: Request, replies: Replies) -> Pin<Box<dyn Future<Output = ()>>> {
        let (served, keeper, resolver) = (Arc::clone(&self.served.borrow()), self.keeper.clone(), self.resolver.clone());
        Box::pin(async move {
            let client = request.client.ip();
            match request.kind.clone() {
                Response::Notify { .. } => {
                    by_keeper(&replies, |reply| keeper.notify(request.packet, client, reply)).await;
                }
                Response::Update { .. } => by_keeper(&replies, |reply| keeper.update(request.packet, reply)).await,
                Response::Transfer { zone, .. } => transfer(&served, &resolver, &zone, &request, None, &replies).await,
                Response::Signed => signed(&served, &resolver, &request, &replies).await,
                Response::Ready | Response::Drop | Response::Resolve(..) | Response::Flatten(..) => {}
            }
        })
    }
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Sends a whole response; a client that is gone needs none.
async fn reply(replies: &Replies, message: &[u8]) {
    if let Err(error) = replies.send(message).await {
        tracing::debug!("a DNS response could not be sent: {error}");
    }
}

/// Has the keeper do it, and sends what it answers.
async fn by_keeper(replies: &Replies, give: impl FnOnce(postring_zones::keeper::Reply)) {
    let (sender, receiver) = oneshot::channel();
    give(Box::new(move |response| {
        // A client that has gone was told nothing; it asks again.
        let _ = sender.send(response);
    }));
    if let Ok(Some(response)) = receiver.await {
        reply(replies, &response).await;
    }
}

/// A query with a signature: checked, answered, and the answer signed.
async fn signed(served: &Served, resolver: &Resolver, request: &Request, replies: &Replies) {
    let now = unix();
    let mut out = Vec::new();
    let signer = match served.keys.check(&request.packet, now) {
        Check::Signed(signer) => signer,
        Check::Refused(refusal) => {
            tracing::info!(client = %request.client, key = %refusal.key_name, "a signed DNS query is refused: {:?}", refusal.error);
            refusal.write(&request.packet, now, &mut out);
            return reply(replies, &out).await;
        }
        // The responder saw one.
        Check::Unsigned => return,
    };
    let Ok(query) = QueryView::parse(&request.packet) else { return };
    let Some(at) = query.tsig_at else { return };
    let mut bare = request.packet.get(..at).unwrap_or_default().to_vec();
    let additional = bare.get(10..12).and_then(|count| count.try_into().ok()).map_or(1, u16::from_be_bytes);
    if let Some(count) = bare.get_mut(10..12) {
        count.copy_from_slice(&additional.saturating_sub(1).to_be_bytes());
    }
    let client = Client { address: request.client.ip(), transport: request.transport };
    // What needs the resolver is not answered to signed queries: a key is for zones.
    let mut response = responder::respond(&Context::default(), &served.hosted, &bare, client, false, &mut out);
    if let Response::Flatten(target, rtype) = response {
        let found = Found(resolver.lookup(&target, rtype).await);
        let context = Context { hooks: Some(&found), ..Context::default() };
        response = responder::respond(&context, &served.hosted, &bare, client, false, &mut out);
    }
    match response {
        Response::Ready => {
            let limit = match request.transport {
                Transport::Udp => query.edns.map_or(512, |edns| usize::from(edns.payload_bytes).min(UDP_BYTES)),
                Transport::Tcp => usize::from(u16::MAX),
            };
            let question_end = 12 + query.name.len() + 4;
            let mut signer = signer;
            signer.sign_within(&mut out, limit, question_end, now);
            reply(replies, &out).await;
        }
        Response::Transfer { zone, .. } => transfer(served, resolver, &zone, request, Some(signer), replies).await,
        Response::Drop
        | Response::Resolve(..)
        | Response::Flatten(..)
        | Response::Notify { .. }
        | Response::Update { .. }
        | Response::Signed => {
            write_transfer_refusal(&request.packet, Rcode::REFUSED, Some(signer), now, &mut out);
            reply(replies, &out).await;
        }
    }
}

/// What the target of an ALIAS has, for a query whose client has proven itself: no cookies and no rates.
struct Found(Resolved);

impl Hooks for Found {
    fn cookie(&self, _: Client, _: &[u8]) -> CookieVerdict {
        CookieVerdict::Unproven(SmallVec::new())
    }

    fn admit(&self, _: Client, _: &Said<'_>) -> Admission {
        Admission::Answer
    }

    fn addresses_of(&self, _: &Name, _: Rtype) -> Option<Resolved> {
        Some(self.0.clone())
    }
}

/// Gives a zone or a list to who may have it.
async fn transfer(
    served: &Served,
    resolver: &Resolver,
    zone: &Name,
    request: &Request,
    signer: Option<Signer>,
    replies: &Replies,
) {
    let now = unix();
    let mut out = Vec::new();
    let key = signer.as_ref().map(|signer| signer.key().name().clone());
    let may = served.rules(zone).is_some_and(|rules| rules.transfer.permits(request.client.ip(), key.as_ref()));
    let parsed = TransferRequest::parse(&request.packet);
    let service = served.hosted.get(zone).cloned();
    let refusal = match (&parsed, may, service.as_deref()) {
        (Err(None), ..) => return,
        (Err(Some(rcode)), ..) => Some(*rcode),
        (Ok(_), false, _) => {
            tracing::info!(client = %request.client, key = key.map(|key| key.to_string()), "a transfer of {zone} is refused: see transfer_to");
            Some(Rcode::REFUSED)
        }
        (Ok(_), true, None | Some(Service::Broken)) => Some(Rcode::SERVFAIL),
        (Ok(_), true, Some(_)) => None,
    };
    let (Ok(parsed), None, Some(service)) = (parsed, refusal, service) else {
        write_transfer_refusal(&request.packet, refusal.unwrap_or(Rcode::SERVFAIL), signer, now, &mut out);
        return reply(replies, &out).await;
    };
    let begun = Instant::now();
    let sent = match &*service {
        Service::Zone(zone) => {
            let aliased = alias_records(zone, resolver).await;
            // What an ALIAS leads to changes without the zone: such a zone is given whole.
            let history = served.rules(zone.origin()).and_then(|rules| rules.history.clone()).filter(|_| zone.alias().is_none());
            let records = zone.records_signed().chain(aliased.iter().map(RecordRef::from));
            let answer = outgoing(&parsed, zone.soa(), records, zone.heap_bytes(), history.as_deref(), signer);
            send(answer, request.transport, replies).await
        }
        Service::List(_) => {
            let list = Arc::clone(&service);
            let records = glommio::executor().spawn_blocking(move || list_records(&list)).await;
            match records.as_ref().and_then(|records| records.split_first()) {
                Some((soa, others)) => {
                    let rest = others.iter().map(RecordRef::from);
                    send(outgoing(&parsed, soa.into(), rest, usize::MAX, None, signer), request.transport, replies).await
                }
                None => {
                    write_transfer_refusal(&request.packet, Rcode::SERVFAIL, signer, now, &mut out);
                    return reply(replies, &out).await;
                }
            }
        }
        Service::Broken => return,
    };
    match sent {
        Ok(messages) => {
            tracing::info!(client = %request.client, "{zone} was given: {} in {messages} messages, {} ms", parsed.rtype, begun.elapsed().as_millis())
        }
        Err(error) => tracing::info!(client = %request.client, "{zone} could not be given: {error}"),
    }
}

/// The addresses a secondary is given in place of an ALIAS, which it need not know: those of now, as it cannot ask for others. Without any if the
/// target cannot be resolved now; the next version of the zone brings them.
async fn alias_records(zone: &Zone, resolver: &Resolver) -> Vec<Record> {
    let Some(target) = zone.alias() else { return Vec::new() };
    let mut records = Vec::new();
    for rtype in [Rtype::A, Rtype::AAAA] {
        let resolved = resolver.lookup(&target, rtype).await;
        if resolved.is_failure() {
            tracing::warn!("{} is given without {rtype} records: its ALIAS {target} cannot be resolved now", zone.origin());
        }
        records.extend(zone.alias_records(rtype, &resolved));
    }
    records
}

async fn send(
    mut answer: postring_dns::transfer::Outgoing<'_>,
    transport: Transport,
    replies: &Replies,
) -> Result<usize, String> {
    let mut out = Vec::with_capacity(20 * 1024);
    if transport == Transport::Udp {
        answer.write_datagram(unix(), &mut out);
        return replies.send(&out).await.map(|()| 1).map_err(|error| error.to_string());
    }
    let mut messages = 0;
    while answer.poll_message(unix(), &mut out).map_err(|_| "a record is too long for a message".to_owned())? {
        replies.send(&out).await.map_err(|error| error.to_string())?;
        messages += 1;
        // A large zone is many messages, and mail must have its turn.
        glommio::yield_if_needed().await;
    }
    Ok(messages)
}

/// All records of a list, its SOA first. `None`: too many.
fn list_records(service: &Service) -> Option<Vec<Record>> {
    let Service::List(list) = service else { return None };
    let mut records = Vec::new();
    let mut part = Some(Part::default());
    while let Some(now) = part {
        part = list_part(list, now, &mut records);
        if records.len() > LIST_RECORDS_MAX {
            return None;
        }
    }
    Some(records)
}

fn list_part(list: &BlockList, part: Part, records: &mut Vec<Record>) -> Option<Part> {
    list.records(part, &mut |owner, rtype, ttl, rdata| {
        if let Ok(name) = Name::from_wire(owner) {
            records.push(Record { name, rtype, ttl, rdata: rdata.into() });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_control::{Role, Shards};
    use postring_ring::Doorbell;

    #[test]
    fn what_is_published_is_served_by_every_shard_before_it_is_said() {
        let (mut shards, publisher) = (Shards::new(Role::Edge), Arc::new(Publisher::default()));
        // Before there are shards nobody is waited for.
        publisher.publish(Arc::default());
        let (events, receiver) = mpsc::channel();
        let (_bell, button) = Doorbell::pair().unwrap();
        shards.add(0, events, button, std::thread::spawn(|| {}));
        publisher.begin(shards.speakers().unwrap());
        assert!(matches!(receiver.recv(), Ok(Event::Served(_, None))), "what was published before");

        let publishing = std::thread::spawn({
            let publisher = Arc::clone(&publisher);
            move || publisher.publish(Arc::default())
        });
        let Ok(Event::Served(_, Some(taken))) = receiver.recv() else { panic!("not what was published") };
        std::thread::sleep(TAKE_WAIT / 50);
        assert!(!publishing.is_finished());
        taken.send(()).unwrap();
        drop(taken);
        publishing.join().unwrap();
        // A shard that has ended is not waited for.
        drop(receiver);
        publisher.publish(Arc::default());
    }
}
