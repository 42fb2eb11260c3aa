use super::socket::{PORT_MIN, QUESTIONS_MAX, SOCKET_LIFE};
use super::*;
use std::collections::HashSet;
use std::net::UdpSocket as Server;

const LONG: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(5);
const SHORT: Duration = Duration::from_millis(80);

fn question(id: u16) -> Vec<u8> {
    [&id.to_be_bytes()[..], b"question"].concat()
}

fn server() -> (Server, SocketAddr) {
    let server = Server::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

/// Asks all ids at once.
async fn ask_all(pool: &UpstreamPool, server: SocketAddr, ids: std::ops::Range<u16>) -> Vec<io::Result<Vec<u8>>> {
    let tasks: Vec<_> = ids
        .map(|id| {
            let pool = pool.clone();
            glommio::spawn_local(async move {
                pool.exchange(server, &question(id), Instant::now() + LONG, |packet| packet.starts_with(&id.to_be_bytes())).await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await);
    }
    answers
}

#[test]
fn many_wait_at_few_ports_and_each_gets_its_own_answer() {
    // All fit into the buffer of any socket.
    const COUNT: u16 = 200;
    let (server, address) = server();
    let answering = std::thread::spawn(move || {
        let mut asked = Vec::new();
        let mut packet = [0; 64];
        for _ in 0..COUNT {
            let (length, client) = server.recv_from(&mut packet).unwrap();
            asked.push((packet[..length].to_vec(), client));
        }
        for (packet, client) in asked.iter().rev() {
            server.send_to(packet, client).unwrap();
        }
        asked.into_iter().map(|(_, client)| client.port()).collect::<Vec<_>>()
    });
    let (answers, in_use) = glommio::LocalExecutor::default().run(async {
        let pool = UpstreamPool::new();
        let answers = ask_all(&pool, address, 0..COUNT).await;
        let all: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let in_use = pool.in_use();
        // When their time is over, all are closed, without another question.
        glommio::timer::sleep(SOCKET_LIFE + 3 * SWEEP).await;
        assert_eq!(pool.in_use(), (0, 0));
        (all, in_use)
    });
    assert_eq!(answers, (0..COUNT).map(question).collect::<Vec<_>>());
    let ports = answering.join().unwrap();
    let distinct: HashSet<u16> = ports.iter().copied().collect();
    assert_eq!(in_use.0, 0);
    assert!(distinct.len() >= usize::from(COUNT).div_ceil(QUESTIONS_MAX.try_into().unwrap()), "{distinct:?}");
    assert!(distinct.len() < usize::from(COUNT) / 4, "{distinct:?}");
    for port in &distinct {
        assert!(*port >= PORT_MIN);
        assert!(ports.iter().filter(|other| *other == port).count() <= QUESTIONS_MAX.try_into().unwrap());
    }
}

#[test]
fn strangers_packets_and_wrong_ids_are_not_answers_and_do_not_make_the_wait_longer() {
    let (server, address) = server();
    let (stranger, _) = self::server();
    let lying = std::thread::spawn(move || {
        let (_, client) = server.recv_from(&mut [0; 64]).unwrap();
        stranger.send_to(&question(7), client).unwrap();
        server.send_to(&question(8), client).unwrap();
        server.send_to(b"\0", client).unwrap();
    });
    glommio::LocalExecutor::default().run(async {
        let pool = UpstreamPool::new();
        let result = pool.exchange(address, &question(7), Instant::now() + SHORT, |_| panic!("it is not an answer")).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!((pool.in_use().0, pool.strangers()), (0, 3));
    });
    lying.join().unwrap();
}

#[test]
fn what_is_not_accepted_is_waited_past_and_not_for_ever() {
    let (server, address) = server();
    let guessing = std::thread::spawn(move || {
        for tries in [1, 2 * REJECTED_MAX] {
            let (_, client) = server.recv_from(&mut [0; 64]).unwrap();
            for _ in 0..tries {
                server.send_to(&[&question(7)[..], b"forged"].concat(), client).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
            server.send_to(&question(7), client).unwrap();
        }
    });
    glommio::LocalExecutor::default().run(async {
        let pool = UpstreamPool::new();
        let asked = question(7);
        let ask = || pool.exchange(address, &asked, Instant::now() + LONG, |packet| packet == question(7));
        assert_eq!(ask().await.unwrap(), question(7));
        assert_eq!(ask().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    });
    guessing.join().unwrap();
}

#[test]
fn a_question_that_is_dropped_frees_its_place() {
    let (_server, address) = server();
    glommio::LocalExecutor::default().run(async {
        let pool = UpstreamPool::new();
        let asked = {
            let pool = pool.clone();
            glommio::spawn_local(async move { pool.exchange(address, &question(7), Instant::now() + LONG, |_| true).await })
        };
        glommio::timer::sleep(TICK).await;
        assert_eq!(pool.in_use(), (1, 1));
        asked.cancel().await;
        assert_eq!(pool.in_use(), (0, 1));
    });
}

#[test]
fn a_closed_port_is_known_at_once() {
    let (server, address) = server();
    drop(server);
    glommio::LocalExecutor::default().run(async {
        let pool = UpstreamPool::new();
        for result in ask_all(&pool, address, 0..40).await {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
        // The others that share its sockets are not harmed.
        let (server, address) = self::server();
        let answering = std::thread::spawn(move || {
            let mut packet = [0; 64];
            let (length, client) = server.recv_from(&mut packet).unwrap();
            server.send_to(&packet[..length], client).unwrap();
        });
        assert_eq!(ask_all(&pool, address, 0..1).await.pop().unwrap().unwrap(), question(0));
        answering.join().unwrap();
    });
}

#[test]
fn a_server_of_ipv6_is_asked_from_an_address_of_ipv6() {
    let Ok(server) = Server::bind("[::1]:0") else { return };
    let address = server.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let mut packet = [0; 64];
        let (length, client) = server.recv_from(&mut packet).unwrap();
        server.send_to(&packet[..length], client).unwrap();
    });
    glommio::LocalExecutor::default().run(async {
        assert_eq!(ask_all(&UpstreamPool::new(), address, 5..6).await.pop().unwrap().unwrap(), question(5));
    });
    answering.join().unwrap();
}
