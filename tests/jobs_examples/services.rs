//! The stand-ins that come with the example: what its README tells a newcomer to do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tidegate_testkit::TempDir;

use super::{read_from, run, shop};
use crate::system::repository;

struct Services {
    child: Child,
    port: u16,
    outbox: TempDir,
}

impl Services {
    fn start() -> Services {
        let outbox = TempDir::new("outbox");
        let mut child = Command::new("node")
            .arg(repository().join("examples/jobs/services.mjs"))
            .arg("0")
            .env("OUTBOX", outbox.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js can be started");
        let mut said = String::new();
        let output = child.stdout.as_mut().expect("stdout is piped");
        BufReader::new(output).read_line(&mut said).unwrap();
        let port = said.trim().rsplit(':').next().unwrap();
        Services {
            port: port.parse().expect("it says where it listens"),
            child,
            outbox,
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn what_the_readme_says_comes_true() {
    let services = Services::start();
    let system = shop(services.port).await;
    let some = json!({"orders": 240, "customers": 250, "visits": 10});
    assert_eq!(
        run(&system, "sampleData", some).await,
        "240 orders, 250 customers, 10 visits"
    );

    let said = run(&system, "dailyReport", Value::Null).await;
    let day = said.split(' ').nth(4).unwrap();
    // Four orders a day, over sixty days.
    assert!(said.starts_with("mailed 4 orders of "), "{said}");
    let pdf = services.outbox.path().join(format!("orders-{day}.pdf"));
    let found = read_from("pdf", "latin1", std::fs::File::open(pdf).unwrap());
    assert_eq!(found["lines"][0], json!([format!("Orders of {day}")]));

    // Else they are too young.
    let older = "update \"Customer\" set \"updatedAt\" = now() - interval '1 hour'";
    system.sql().await.execute(older, &[]).await.unwrap();
    assert_eq!(
        run(&system, "hourlySync", Value::Null).await,
        "sent 250 customers"
    );
}
