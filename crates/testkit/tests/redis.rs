//! Volatile and durable Redis over a crash.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use tidegate_testkit::Redis;

#[test]
fn a_volatile_server_comes_back_empty() {
    let redis = Redis::start();
    ask(&redis, "SET key value");
    assert_eq!(ask(&redis, "DBSIZE"), ":1");
    redis.kill9();
    assert!(TcpStream::connect(("127.0.0.1", redis.port())).is_err());
    redis.restart();
    assert_eq!(ask(&redis, "DBSIZE"), ":0");
}

#[test]
fn a_durable_server_keeps_what_it_acknowledged() {
    let redis = Redis::durable();
    ask(&redis, "SET key value");
    redis.kill9();
    redis.restart();
    assert_eq!(ask(&redis, "DBSIZE"), ":1");
    redis.flushall();
    assert_eq!(ask(&redis, "DBSIZE"), ":0");
}

#[test]
fn listens_on_its_socket_and_answers_after_a_pause() {
    let redis = Redis::start();
    let path = redis.socket_url();
    let stream = UnixStream::connect(path.strip_prefix("redis+unix://").unwrap()).unwrap();
    redis.pause();
    (&stream).write_all(b"PING\r\n").unwrap();
    redis.resume();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert_eq!(answer, "+PONG\r\n");
}

#[test]
fn a_paused_server_can_be_dropped() {
    let redis = Redis::start();
    let directory = redis.directory().to_owned();
    redis.pause();
    drop(redis);
    assert!(!directory.exists());
}

/// One command on a fresh connection; the first line of its answer.
fn ask(redis: &Redis, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).expect("Redis answers");
    write!(stream, "{command}\r\n").expect("Redis answers");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .expect("Redis answers");
    answer.trim_end().to_owned()
}
