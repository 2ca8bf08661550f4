//! A dump as a table for people.

use std::io::Write;

use klinky::dump::table::Table;

use crate::admin::call;
use crate::dumps::GOLDEN;
use crate::harness::Server;

/// The table of a dump that comes in pieces of `bytes`.
fn table(dump: &str, bytes: usize) -> String {
    let mut out = Vec::new();
    let mut table = Table::new(&mut out);
    for piece in dump.as_bytes().chunks(bytes) {
        table.write_all(piece).unwrap();
    }
    table.flush().unwrap();
    drop(table);
    String::from_utf8(out).unwrap()
}

#[test]
fn each_kind_of_rows_has_a_table_with_titles() {
    insta::assert_snapshot!(table(GOLDEN, 1000), @r#"
    PLAN                  NAME                      ACCESS  PER HOUR    BEST FOR
    free                  Free                      no      0           dashboard only
    growth                Growth                    yes     100         small teams, basic automation
    partner-2024          Pärtner «2024»            yes     4294967295
    scale                 Scale                     yes     1000        large teams, heavy API use
    starter               Starter                   no      0           dashboard only

    ACCOUNT                               NAME                      PLAN          CUSTOM      TRIAL UNTIL               SUSPENDED  CREATED
    018d0d80-0000-7000-8000-000000000001  Acme                      growth        -           -                         no         2024-01-01T00:00:00Z
    018d0d80-0000-7000-8000-000000000002  Ünïcode & Söhne 株式会社 🚀    free          -           2024-01-29T14:30:00Z      no         2024-01-02T03:04:05.006Z
    018d0d80-0000-7000-8000-000000000003  "Quotes" and \ backslashes  partner-2024  4294967295  2024-01-10T00:00:00Z      no         2024-01-03T00:00:00Z
    018d0d80-0000-7000-8000-000000000004  Late payer                scale         0           -                         yes        2024-01-04T00:00:00Z

    KEY                                   ACCOUNT                               NAME                  DISPLAY                   SCOPE       EXPIRES                   REVOKED                   LAST USED
    018d0d81-0000-7000-8000-000000000001  018d0d80-0000-7000-8000-000000000001  production            klinky_live_09IR…         read_write  -                         -                         2024-01-15T14:29:59.999Z
    018d0d81-0000-7000-8000-000000000002  018d0d80-0000-7000-8000-000000000001  leaked                klinky_live_revo…         read_write  -                         2024-01-06T00:00:00Z      2024-01-05T12:00:00Z
    018d0d81-0000-7000-8000-000000000003  018d0d80-0000-7000-8000-000000000002  trial key             klinky_live_expi…         read_write  2024-01-15T14:00:00Z      -                         -
    018d0d81-0000-7000-8000-000000000004  018d0d80-0000-7000-8000-000000000002  レポート                  klinky_live_read…         read_only   9999-12-31T23:59:59.999Z  -                         -
    018d0d81-0000-7000-8000-000000000005  018d0d80-0000-7000-8000-000000000004  idle                  klinky_live_susp…         read_write  -                         -                         -

    HOUR                  ACCOUNT                               USED
    2024-01-15T13:00:00Z  018d0d80-0000-7000-8000-000000000001  100
    2024-01-15T13:00:00Z  018d0d80-0000-7000-8000-000000000003  4294967295
    2024-01-15T14:00:00Z  018d0d80-0000-7000-8000-000000000001  41
    2024-01-15T14:00:00Z  018d0d80-0000-7000-8000-000000000002  7
    "#);
}

#[test]
fn a_table_does_not_depend_on_how_the_dump_comes_in() {
    assert_eq!(table(GOLDEN, 1), table(GOLDEN, GOLDEN.len()));
    assert_eq!(table(GOLDEN, 7), table(GOLDEN, GOLDEN.len()));
}

#[test]
fn a_header_alone_gives_an_empty_table() {
    let server = Server::start();
    let dump = call(&server, "GET", "/dump?only=keys").body;

    assert_eq!(table(&dump, 1000), "");
}

#[test]
fn what_is_no_dump_is_an_error_and_no_table() {
    let mut out = Vec::new();
    let mut table = Table::new(&mut out);

    let no_json = table.write_all(b"hello\n").unwrap_err();
    let too_long = Table::new(Vec::new()).write_all(&[b'x'; 300_000]).unwrap_err();

    assert_eq!(no_json.to_string(), "expected value at line 1 column 1");
    assert_eq!(too_long.to_string(), "a line of the dump is too long");
}
