//! Just enough of pgoutput to see in which order things reach the WAL.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::fixture::PUBLICATION;

pub type Row = BTreeMap<String, Option<String>>;

/// One message of pgoutput, as far as these tests look at it.
#[derive(Debug)]
pub enum Change {
    Begin { xid: u32 },
    Message { prefix: String, content: String },
    Insert(String, Row),
    Update(String, Row),
    Delete(String),
    Commit,
}

/// Reads what a slot holds for the publication and moves it on.
pub async fn changes_of(client: &Client) -> Vec<Change> {
    let sql = "select data from pg_logical_slot_get_binary_changes(current_database(), null, null,
                   'proto_version', '1', 'publication_names', $1, 'messages', 'true')";
    let mut relations = BTreeMap::new();
    let rows = client.query(sql, &[&PUBLICATION]).await.unwrap();
    rows.iter()
        .filter_map(|row| decode(row.get(0), &mut relations))
        .collect()
}

fn decode(data: &[u8], relations: &mut BTreeMap<u32, (String, Vec<String>)>) -> Option<Change> {
    let mut bytes = Bytes(&data[1..]);
    Some(match data[0] {
        b'B' => {
            bytes.take(16);
            Change::Begin { xid: bytes.u32() }
        }
        b'C' => Change::Commit,
        b'M' => {
            bytes.take(9);
            let prefix = bytes.text();
            let length = bytes.u32() as usize;
            Change::Message {
                prefix,
                content: String::from_utf8(bytes.take(length).to_vec()).unwrap(),
            }
        }
        b'R' => {
            let id = bytes.u32();
            let (_, name) = (bytes.text(), bytes.text());
            bytes.take(1);
            let columns = (0..bytes.u16()).map(|_| {
                bytes.take(1);
                let column = bytes.text();
                bytes.take(8);
                column
            });
            relations.insert(id, (name, columns.collect()));
            return None;
        }
        kind @ (b'I' | b'U' | b'D') => {
            let (table, columns) = relations[&bytes.u32()].clone();
            let mut tuple = bytes.tuple(&columns);
            if kind == b'U' && !bytes.0.is_empty() {
                tuple = bytes.tuple(&columns);
            }
            match kind {
                b'I' => Change::Insert(table, tuple),
                b'U' => Change::Update(table, tuple),
                _ => Change::Delete(table),
            }
        }
        other => panic!("unexpected message {}", char::from(other)),
    })
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = self.take(end).to_vec();
        self.take(1);
        String::from_utf8(text).unwrap()
    }

    fn tuple(&mut self, columns: &[String]) -> Row {
        self.take(1);
        assert_eq!(usize::from(self.u16()), columns.len());
        let mut row = Row::new();
        for column in columns {
            match self.take(1)[0] {
                b'n' => drop(row.insert(column.clone(), None)),
                b'u' => {}
                _ => {
                    let length = self.u32() as usize;
                    let text = String::from_utf8(self.take(length).to_vec()).unwrap();
                    row.insert(column.clone(), Some(text));
                }
            }
        }
        row
    }
}
