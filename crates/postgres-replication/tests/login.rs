//! Ways in, and how being kept out is told.

use postgres_replication::{Config, Connection, Error, Host};
use tidegate_testkit::{Authentication, Postgres, free_port};

async fn refusal(config: &Config) -> Error {
    Connection::connect(config)
        .await
        .err()
        .expect("the login fails")
}

#[tokio::test]
async fn every_password_method_is_spoken() {
    let database = Postgres::shared().create_database().await;
    for method in [
        Authentication::Scram,
        Authentication::Md5,
        Authentication::Cleartext,
    ] {
        let config = Config::from_url(&database.password_url(method)).unwrap();
        let mut connection = Connection::connect(&config).await.unwrap();
        assert_eq!(
            connection.identify_system().await.unwrap().dbname,
            database.name()
        );

        let wrong = Config {
            password: Some("wrong".to_owned()),
            ..config.clone()
        };
        let absent = Config {
            password: None,
            ..config
        };
        for config in [wrong, absent] {
            let error = refusal(&config).await;
            assert!(
                matches!(error, Error::Authentication { .. }),
                "{method:?}: {error}"
            );
            assert!(!error.is_transient());
        }
    }
}

#[tokio::test]
async fn the_socket_serves_as_well_as_tcp() {
    let database = Postgres::shared().create_database().await;
    let config = Config::from_url(&database.socket_url()).unwrap();
    assert!(matches!(config.hosts[..], [Host::Unix { .. }]));
    let mut connection = Connection::connect(&config).await.unwrap();
    assert_eq!(
        connection.identify_system().await.unwrap().dbname,
        database.name()
    );
}

#[tokio::test]
async fn who_may_not_replicate_is_told_so() {
    let database = Postgres::shared().create_database().await;
    let admin = database.connect_as_superuser().await;
    let role = format!("plain_{}", database.name());
    admin
        .batch_execute(&format!("create role {role} login"))
        .await
        .unwrap();
    let mut config = Config::from_url(database.url()).unwrap();
    config.user = role.clone();
    let error = refusal(&config).await;
    assert!(
        matches!(&error, Error::Server { code, .. } if code == "42501"),
        "{error}"
    );
    assert!(!error.is_transient());
    admin
        .batch_execute(&format!("drop role {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_wrong_database_and_a_wrong_port_are_told_apart() {
    let database = Postgres::shared().create_database().await;
    let mut config = Config::from_url(database.url()).unwrap();
    config.dbname = "absent".to_owned();
    let error = refusal(&config).await;
    assert!(
        matches!(&error, Error::Server { code, .. } if code == "3D000"),
        "{error}"
    );
    assert!(!error.is_transient());

    config.hosts = vec![Host::Tcp {
        name: "127.0.0.1".to_owned(),
        port: free_port(),
    }];
    let error = refusal(&config).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn the_next_host_is_tried_when_one_is_down() {
    let database = Postgres::shared().create_database().await;
    let mut config = Config::from_url(database.url()).unwrap();
    let down = Host::Tcp {
        name: "127.0.0.1".to_owned(),
        port: free_port(),
    };
    config.hosts.insert(0, down);
    Connection::connect(&config).await.unwrap();
}
